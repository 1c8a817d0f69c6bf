//! Words as letters and digits of ASCII, for a database whose own full text knows no other.
//!
//! MariaDB and MySQL cut texts by their own idea of a letter, leave out what is shorter than `innodb_ft_min_token_size` or in a list of
//! English stop words, and cut what is longer than `innodb_ft_max_token_size`. So each word gets two characters in front, which make it
//! long enough and no stop word, and each character that is none of ASCII's letters and digits becomes `z` and its number, four
//! digits in base 36. No number begins with `z`, so `zz` is the letter itself; and the begin of a word becomes the begin of its code.

/// In front of each word.
const PREFIX: &str = "x0";
/// Below `innodb_ft_max_token_size`, which is 84 unless an operator sets it.
const MAX_CODE_BYTES: usize = 80;

/// The code of a word. A long one is cut, and so may stand for several words.
pub(crate) fn plain(word: &str) -> String {
    let mut code = PREFIX.to_owned();
    for c in word.chars() {
        let before = code.len();
        match c {
            'z' => code.push_str("zz"),
            'a'..='y' | '0'..='9' => code.push(c),
            _ => push_number(&mut code, u32::from(c)),
        }
        if code.len() > MAX_CODE_BYTES {
            code.truncate(before);
            break;
        }
    }
    code
}

fn push_number(code: &mut String, mut number: u32) {
    const BASE: u32 = 36;
    let mut digits = [0_u32; 4];
    for digit in digits.iter_mut().rev() {
        *digit = number % BASE;
        number /= BASE;
    }
    code.push('z');
    code.extend(digits.into_iter().filter_map(|digit| char::from_digit(digit, BASE)));
}
