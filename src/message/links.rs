//! Links in texts: what counts as one, for whoever searches for messages that have one and for whoever shows them.

/// How links begin, in lower case.
pub const SCHEMES: [&str; 7] = ["https://", "http://", "xmpp:", "aesgcm://", "mailto:", "geo:", "ftp://"];

/// Where the link ends that begins at this place of a text; none if none begins there.
pub fn end(characters: &[char], at: usize) -> Option<usize> {
    let is_inside = at > 0 && characters.get(at - 1).is_some_and(|before| before.is_alphanumeric());
    let rest = characters.get(at..)?;
    let scheme = SCHEMES.iter().find(|scheme| begins(rest, scheme)).filter(|_| !is_inside)?;
    let length = rest.iter().position(|c| c.is_whitespace() || "<>\"".contains(*c)).unwrap_or(rest.len());
    (length > scheme.len()).then_some(at + length)
}

fn begins(characters: &[char], scheme: &str) -> bool {
    characters.len() > scheme.len() && scheme.chars().zip(characters).all(|(wanted, found)| wanted == found.to_ascii_lowercase())
}

/// Whether a text has a link.
pub fn holds(text: &str) -> bool {
    // Every scheme has one, and most texts have none.
    if !text.contains(':') {
        return false;
    }
    let characters: Vec<char> = text.chars().collect();
    (0..characters.len()).any(|at| end(&characters, at).is_some())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_link_begins_with_a_scheme_and_goes_on() {
        for text in ["https://a", "see (HTTP://x.y)", "xmpp:a@b", "\"mailto:a@b\"", "geo:1,2", "ftp://a", "aesgcm://a#b", "ß geo:1"] {
            assert!(holds(text), "{text}");
        }
        for text in ["", "a: b", "nohttp://x", "https:// x", "geo:", "ageo:1", "http:/x", "<https://>"] {
            assert!(!holds(text), "{text}");
        }
        let text: Vec<char> = "see https://a/b<i>".chars().collect();
        assert_eq!((end(&text, 4), end(&text, 5)), (Some(15), None));
    }
}
