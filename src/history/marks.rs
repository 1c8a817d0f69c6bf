//! A set of message numbers: a bit for each, in pages, since those of some days lie together.

use std::collections::BTreeMap;

/// The numbers of one page, as a power of two.
const PAGE_BITS: u32 = 16;
const WORDS: usize = 1 << (PAGE_BITS - 6);
/// Most pages: a billion numbers that lie together, 128 MiB.
const MAX_PAGES: usize = 16_384;

/// The set.
#[derive(Debug, Default)]
pub struct Marks {
    pages: BTreeMap<i64, Box<[u64; WORDS]>>,
}

/// There is no room for more.
#[derive(Debug, PartialEq, Eq)]
pub struct Full;

impl Marks {
    /// Adds a number; says whether it is new.
    ///
    /// # Errors
    /// When there are too many.
    pub fn insert(&mut self, number: i64) -> Result<bool, Full> {
        if self.pages.len() >= MAX_PAGES && !self.pages.contains_key(&(number >> PAGE_BITS)) {
            return Err(Full);
        }
        let page = self.pages.entry(number >> PAGE_BITS).or_insert_with(|| Box::new([0; WORDS]));
        let within = number & ((1 << PAGE_BITS) - 1);
        let (word, bit) = ((within >> 6) as usize, 1_u64 << (within & 63));
        let Some(word) = page.get_mut(word) else { return Ok(false) };
        let is_new = *word & bit == 0;
        *word |= bit;
        Ok(is_new)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_is_new_once() {
        let mut marks = Marks::default();
        for number in [0, 1, 63, 64, 65_535, 65_536, 1 << 62, (1 << 62) + 1] {
            assert_eq!((marks.insert(number), marks.insert(number)), (Ok(true), Ok(false)), "{number}");
        }
        assert_eq!(marks.pages.len(), 3);
    }

    #[test]
    fn there_is_a_limit() {
        let mut marks = Marks::default();
        for page in 0..MAX_PAGES as i64 {
            assert_eq!(marks.insert(page << PAGE_BITS), Ok(true));
        }
        assert_eq!((marks.insert(1), marks.insert(-1)), (Ok(true), Err(Full)));
    }
}
