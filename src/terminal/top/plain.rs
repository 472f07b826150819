//! The board as text, for pipes and logs: a table of nodes, one of what is wrong, what admin listeners say, hot keys.

use super::super::text::{percent, printable};
use super::board::{Board, Node};
use super::columns::COLUMNS;
use super::requests;

/// The whole text.
pub fn text(board: &Board) -> String {
    let addresses: Vec<String> = board.nodes.iter().map(|node| node.address.to_string()).collect();
    let width = addresses.iter().map(String::len).max().unwrap_or(0).max(4);
    let mut text = format!("{:<width$} {:<5}", "node", "state");
    for column in COLUMNS {
        text.push_str(&format!(" {:>1$}", column.name, usize::from(column.width)));
    }
    text.push('\n');
    for (node, address) in board.nodes.iter().zip(&addresses) {
        text.push_str(&format!("{address:<width$} {:<5}", state(node)));
        for column in COLUMNS {
            text.push_str(&format!(" {:>1$}", column.cell(node), usize::from(column.width)));
        }
        text.push('\n');
    }
    for (node, address) in board.nodes.iter().zip(&addresses) {
        if let Some(failure) = node.failure() {
            text.push_str(&format!("CRITICAL - {failure}\n"));
        }
        for finding in &node.findings {
            text.push_str(&format!("{} - {address}: {}\n", finding.level.word(), finding.text));
        }
    }
    for (node, address) in board.nodes.iter().zip(&addresses) {
        let Some(inside) = node.inside() else { continue };
        text.push_str(&format!("requests of {address}\n"));
        let lines = [requests::latencies(inside), requests::sizes(inside), requests::times(inside)];
        lines.iter().flatten().for_each(|line| text.push_str(&format!("{line}\n")));
        if board.prints_hot_keys {
            text.push_str(&format!("hot keys of {address}\n"));
            requests::hot_key_lines(inside).iter().for_each(|line| text.push_str(&format!("{line}\n")));
        }
    }
    for (node, address) in board.nodes.iter().zip(&addresses) {
        let Some(seen) = &node.hot_keys else { continue };
        text.push_str(&format!("hot keys of {address}\n"));
        for (key, share) in seen.keys.top(HOT_KEYS) {
            text.push_str(&format!("{:>7} {}\n", percent(share), printable(&key)));
        }
        if let Some(failure) = &seen.failure {
            text.push_str(&format!("        cannot be watched: {failure}\n"));
        }
    }
    text
}

/// A node's state in a word.
pub fn state(node: &Node) -> &'static str {
    match node.last {
        None => "...",
        Some(Ok(_)) => "up",
        Some(Err(_)) => "down",
    }
}

/// Keys listed for each node.
pub const HOT_KEYS: usize = 16;

#[cfg(test)]
mod tests {
    use super::super::board::testing::board;
    use super::super::poll::Seen;
    use super::*;

    #[test]
    fn nodes_are_rows() {
        let text = text(&board());
        let lines: Vec<&str> = text.lines().collect();
        assert!(lines[0].starts_with("node                 state  version      up   ops/s"), "{text}");
        assert!(lines[1].starts_with("127.0.0.1:23111      up      1.6.45   1m42s   42.0k"), "{text}");
        assert!(
            lines[1].contains(" 90.0%  0.25 ms   4.0 MiB 100.0% ") || lines[1].contains(" 90.0%  0.25 ms "),
            "{text}"
        );
        assert!(lines[3].starts_with("unix:/run/cache.sock down         -       -       -"), "{text}");
        assert!(lines.contains(&"CRITICAL - unix:/run/cache.sock: cannot connect: no such file"), "{text}");
        assert!(text.contains("WARNING - 127.0.0.1:23111: slab class"), "{text}");
        let widths: Vec<usize> = lines[..4].iter().map(|line| line.len()).collect();
        assert!(widths.iter().all(|width| *width == widths[0]), "{text}");
    }

    #[test]
    fn hot_keys_follow() {
        let mut board = board();
        let mut seen = Seen::default();
        for line in ["a%20b", "a%20b", "a%20b", "c"] {
            seen.keys.push_line(format!("ts=1 gid=1 type=item_get key={line} status=found").as_bytes());
        }
        board.nodes[0].hot_keys = Some(seen);
        assert!(text(&board).ends_with("hot keys of 127.0.0.1:23111\n  75.0% a b\n  25.0% c\n"));
    }

    #[test]
    fn what_the_admin_listener_says_follows() {
        let mut board = board();
        let end = "  75.0%  up to 64 B\n  25.0%  up to 128 B\ntimes to live\n  12.5%  up to 1m00s\n   2.5%  longer\n  85.0%  without an end\n";
        let text_without = text(&board);
        assert!(
            text_without.contains("\nrequests of [::1]:23112\ncommand ") && text_without.ends_with(end),
            "{text_without}"
        );
        board.prints_hot_keys = true;
        let hot = "hot keys of [::1]:23112\n  25.0%      812.5/s  #77aa\n   1.0%        8.0/s  user:1\n";
        assert!(text(&board).ends_with(hot), "{}", text(&board));
    }
}
