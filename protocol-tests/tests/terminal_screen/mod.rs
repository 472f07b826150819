//! What a terminal shows after some output: as much of one as the pictures of `slabstash top` need. Cursor positions,
//! clearing and characters of one column are followed; colours and everything else are passed over.

/// A screen of characters.
pub struct Screen {
    cells: Vec<Vec<char>>,
    row: usize,
    column: usize,
    /// What came last and is not whole: an escape sequence or a character cut in two.
    rest: Vec<u8>,
}

impl Screen {
    /// An empty one.
    pub fn new(width: usize, height: usize) -> Screen {
        Screen { cells: vec![vec![' '; width]; height], row: 0, column: 0, rest: Vec::new() }
    }

    /// Its lines.
    pub fn text(&self) -> String {
        let lines: Vec<String> = self.cells.iter().map(|line| line.iter().collect()).collect();
        lines.join("\n")
    }

    /// Follows some output.
    pub fn take(&mut self, bytes: &[u8]) {
        let mut input = std::mem::take(&mut self.rest);
        input.extend_from_slice(bytes);
        let mut at = 0;
        while let Some(length) = self.step(&input[at..]) {
            at += length;
        }
        self.rest = input[at..].to_vec();
    }

    /// Follows one sequence or character; its length, `None` if it is not whole.
    fn step(&mut self, input: &[u8]) -> Option<usize> {
        match *input.first()? {
            0x1b if *input.get(1)? == b'[' => {
                let end = 2 + input[2..].iter().position(|byte| (0x40..0x7f).contains(byte))?;
                self.control(&input[2..end], input[end]);
                Some(end + 1)
            }
            0x1b => Some(2),
            b'\r' => {
                self.column = 0;
                Some(1)
            }
            b'\n' => {
                self.row += 1;
                Some(1)
            }
            first => {
                let length = match first {
                    ..0x80 => 1,
                    0x80..0xe0 => 2,
                    0xe0..0xf0 => 3,
                    _ => 4,
                };
                let letter = std::str::from_utf8(input.get(..length)?).ok().and_then(|text| text.chars().next());
                if let Some(cell) = self.cells.get_mut(self.row).and_then(|line| line.get_mut(self.column)) {
                    *cell = letter.unwrap_or('?');
                }
                self.column += 1;
                Some(length)
            }
        }
    }

    fn control(&mut self, parameters: &[u8], last: u8) {
        let text = String::from_utf8_lossy(parameters);
        let mut numbers = text.split(';').map(|number| number.parse().unwrap_or(1usize).max(1));
        match last {
            b'H' => {
                self.row = numbers.next().unwrap_or(1) - 1;
                self.column = numbers.next().unwrap_or(1) - 1;
            }
            b'J' => self.cells.iter_mut().flatten().for_each(|cell| *cell = ' '),
            _ => {}
        }
    }
}
