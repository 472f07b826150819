//! A partition's memory as it comes from the system: regions, of which spans are parts.
//!
//! ```text
//! region  | span | span |  free  | span | free |    in granules of 4 KiB
//! ```
//! A region as large as a huge page is one, if the system has them to give: the items of a large cache are then found
//! with a fraction of the address translations. Who uses a part is not known here; nor is how much memory there may be.

use memmap2::MmapMut;

/// Parts are multiples of this: the system's page.
pub const GRANULE_BYTES: usize = 4096;

/// Largest region: a huge page.
pub const REGION_BYTES_MAX: usize = 2 * 1024 * 1024;

/// Words of a region's map.
const WORDS: usize = REGION_BYTES_MAX / GRANULE_BYTES / 64;

/// Where a span lies.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Part {
    region: u32,
    /// In bytes: start + bytes <= the region's size
    start: u32,
    bytes: u32,
}

impl Part {
    /// Its size in bytes.
    pub fn bytes(&self) -> usize {
        self.bytes as usize
    }

    /// For an order in which the parts of a region stand together.
    pub fn place(&self) -> (u32, u32) {
        (self.region, self.start)
    }
}

struct Region {
    memory: MmapMut,
    /// A bit per granule, set when it is taken; granules behind the end are.
    taken: [u64; WORDS],
    /// Granules that are free.
    free: usize,
}

/// See the module comment.
#[derive(Default)]
pub struct Regions {
    /// `None` is free for reuse.
    regions: Vec<Option<Region>>,
    /// No region before this one has anything free.
    first_free: usize,
}

impl Regions {
    /// Adds memory, a multiple of [`GRANULE_BYTES`] and at most [`REGION_BYTES_MAX`], all of it free.
    pub fn add(&mut self, memory: MmapMut) {
        let granules = (memory.len() / GRANULE_BYTES).min(WORDS * 64);
        let mut region = Region { memory, taken: [0; WORDS], free: granules };
        region.set(granules, WORDS * 64 - granules);
        let number = match self.regions.iter().position(Option::is_none) {
            Some(number) => number,
            None => {
                self.regions.push(None);
                self.regions.len() - 1
            }
        };
        self.regions[number] = Some(region);
        self.first_free = self.first_free.min(number);
    }

    /// Takes a part of `bytes`, rounded up to whole granules, or where no region has so many in a row, the largest one of
    /// at least `bytes_min`: so that the ends of regions are not lost.
    pub fn take(&mut self, bytes: usize, bytes_min: usize) -> Option<Part> {
        let (granules, granules_min) = (bytes.div_ceil(GRANULE_BYTES), bytes_min.div_ceil(GRANULE_BYTES).max(1));
        let is_used_up = |region: &Option<Region>| region.as_ref().is_none_or(|region| region.free == 0);
        while self.regions.get(self.first_free).is_some_and(is_used_up) {
            self.first_free += 1;
        }
        // Number of the region, first granule, granules.
        let mut best = (0, 0, granules_min - 1);
        for (number, region) in self.regions.iter().enumerate().skip(self.first_free) {
            if let Some(region) = region
                && region.free > best.2
            {
                let (start, length) = region.find(granules);
                if length > best.2 {
                    best = (number, start, length);
                }
                if length == granules {
                    break;
                }
            }
        }
        let (number, start, length) = best;
        let region = self.regions.get_mut(number)?.as_mut().filter(|_| length >= granules_min)?;
        region.set(start, length);
        region.free -= length;
        let (start, bytes) = (start * GRANULE_BYTES, length * GRANULE_BYTES);
        Some(Part { region: number as u32, start: start as u32, bytes: bytes as u32 })
    }

    /// Gives a part back; returns its region's memory when nothing of it is in use any more.
    pub fn give_back(&mut self, part: Part) -> Option<MmapMut> {
        let number = part.region as usize;
        let place = self.regions.get_mut(number)?;
        let region = place.as_mut()?;
        let (start, granules) = (part.start as usize / GRANULE_BYTES, part.bytes() / GRANULE_BYTES);
        region.clear(start, granules);
        region.free += granules;
        self.first_free = self.first_free.min(number);
        if region.free * GRANULE_BYTES < region.memory.len() {
            return None;
        }
        place.take().map(|region| region.memory)
    }

    /// Free bytes of the region of a part.
    pub fn free_beside(&self, part: Part) -> usize {
        let region = self.regions.get(part.region as usize).and_then(Option::as_ref);
        region.map_or(0, |region| region.free * GRANULE_BYTES)
    }

    /// The bytes of a part from `offset` on, and perhaps more behind it. Empty when there is no such part.
    #[inline(always)]
    pub fn bytes_from(&self, part: Part, offset: usize) -> &[u8] {
        match self.regions.get(part.region as usize) {
            Some(Some(region)) => region.memory.get(part.start as usize + offset..).unwrap_or_default(),
            _ => &[],
        }
    }

    /// `length` bytes of a part from `offset` on. Empty when there is no such part.
    #[inline(always)]
    pub fn bytes_mut(&mut self, part: Part, offset: usize, length: usize) -> &mut [u8] {
        let start = part.start as usize + offset;
        match self.regions.get_mut(part.region as usize) {
            Some(Some(region)) => region.memory.get_mut(start..start + length).unwrap_or_default(),
            _ => &mut [],
        }
    }

    /// Copies bytes between two parts.
    pub fn copy(&mut self, from: (Part, usize), to: (Part, usize), bytes: usize) {
        let source = from.0.start as usize + from.1;
        if from.0.region == to.0.region {
            if let Some(Some(region)) = self.regions.get_mut(from.0.region as usize) {
                region.memory.copy_within(source..source + bytes, to.0.start as usize + to.1);
            }
        } else if let Ok([Some(source_region), Some(target_region)]) =
            self.regions.get_disjoint_mut([from.0.region as usize, to.0.region as usize])
        {
            let target = to.0.start as usize + to.1;
            target_region.memory[target..target + bytes].copy_from_slice(&source_region.memory[source..source + bytes]);
        }
    }
}

impl Region {
    /// The first `granules` free ones in a row, or the most there are: where they begin, and how many.
    fn find(&self, granules: usize) -> (usize, usize) {
        let mut best = (0, 0);
        let mut run = 0;
        let mut granule = 0;
        while granule < WORDS * 64 && best.1 < granules {
            let word = self.taken[granule / 64];
            if granule % 64 == 0 && word == u64::MAX {
                run = 0;
                granule += 64;
                continue;
            }
            run = if word & (1 << (granule % 64)) == 0 { run + 1 } else { 0 };
            granule += 1;
            if run > best.1 {
                best = (granule - run, run);
            }
        }
        best
    }

    fn set(&mut self, start: usize, granules: usize) {
        (start..start + granules).for_each(|granule| self.taken[granule / 64] |= 1 << (granule % 64));
    }

    fn clear(&mut self, start: usize, granules: usize) {
        (start..start + granules).for_each(|granule| self.taken[granule / 64] &= !(1 << (granule % 64)));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn memory(granules: usize) -> MmapMut {
        MmapMut::map_anon(granules * GRANULE_BYTES).unwrap()
    }

    #[test]
    fn parts_do_not_overlap_and_come_back() {
        let mut regions = Regions::default();
        regions.add(memory(512));
        regions.add(memory(20));
        let mut parts = Vec::new();
        let sizes = [16, 17, 1, 70, 33, 5, 128];
        for bytes in sizes.iter().cycle().take(50).map(|granules| granules * GRANULE_BYTES) {
            let Some(part) = regions.take(bytes, bytes) else { continue };
            let label = parts.len() as u8 + 1;
            let space = regions.bytes_mut(part, 0, bytes);
            assert!(space.len() == bytes && space.iter().all(|&byte| byte == 0));
            space.fill(label);
            parts.push(part);
        }
        assert!(parts.len() > 10);
        for (index, &part) in parts.iter().enumerate() {
            assert!(regions.bytes_from(part, 0)[..part.bytes()].iter().all(|&byte| byte == index as u8 + 1));
        }
        let freed: Vec<usize> = parts.drain(..).filter_map(|part| regions.give_back(part)).map(|it| it.len()).collect();
        assert_eq!(freed.iter().sum::<usize>(), 532 * GRANULE_BYTES);
        assert!(regions.take(1, 1).is_none());
    }

    #[test]
    fn holes_are_used_again() {
        let mut regions = Regions::default();
        regions.add(memory(64));
        let parts: Vec<Part> = (0..4).map(|_| regions.take(16 * GRANULE_BYTES, 1).unwrap()).collect();
        assert!(regions.take(1, 1).is_none());
        assert!(regions.give_back(parts[1]).is_none());
        assert!(regions.give_back(parts[2]).is_none());
        assert_eq!(regions.take(40 * GRANULE_BYTES, 33 * GRANULE_BYTES), None);
        let joined = regions.take(40 * GRANULE_BYTES, 20 * GRANULE_BYTES).unwrap();
        assert_eq!((joined.start, joined.bytes), (parts[1].start, 32 * GRANULE_BYTES as u32));
    }

    #[test]
    fn items_move_within_and_between_regions() {
        let mut regions = Regions::default();
        regions.add(memory(2));
        regions.add(memory(1));
        let parts: Vec<Part> = (0..3).map(|_| regions.take(GRANULE_BYTES, 1).unwrap()).collect();
        regions.bytes_mut(parts[0], 10, 3).copy_from_slice(b"abc");
        regions.copy((parts[0], 10), (parts[1], 20), 3);
        regions.copy((parts[1], 20), (parts[2], 30), 3);
        assert_eq!(&regions.bytes_from(parts[2], 30)[..3], b"abc");
        regions.give_back(parts[2]);
        assert!(regions.bytes_from(parts[2], 0).is_empty() && regions.bytes_mut(parts[2], 0, 1).is_empty());
    }

    #[test]
    fn a_region_is_no_larger_than_its_map() {
        let mut regions = Regions::default();
        regions.add(memory(2 * REGION_BYTES_MAX / GRANULE_BYTES));
        assert_eq!(regions.take(REGION_BYTES_MAX, REGION_BYTES_MAX).expect("a part").bytes(), REGION_BYTES_MAX);
        assert!(regions.take(1, 1).is_none());
    }
}
