//! What a word is in each script, and what a text finds.

use super::*;

fn found(query: &str, text: &str) -> bool {
    query.parse::<Text>().unwrap().holds(&Words::of([text]))
}

#[test]
fn texts_are_cut_into_words() {
    for (text, expected) in [
        ("Hello, World!", vec!["hello", "world"]),
        ("don't l'été foo_bar", vec!["don", "t", "l", "ete", "foo", "bar"]),
        ("https://example.com/a?b=1", vec!["https", "example", "com", "a", "b", "1"]),
        ("d'Artagnan@a.example", vec!["d", "artagnan", "a", "example"]),
        ("3.14 1,000", vec!["3", "14", "1", "000"]),
        ("Größe STRASSE straße", vec!["grosse", "strasse", "strasse"]),
        ("ΣΊΣΥΦΟΣ σίσυφος", vec!["σισυφοσ", "σισυφοσ"]),
        ("İstanbul ISPARTA ısparta", vec!["istanbul", "isparta", "isparta"]),
        ("Ｆｕｌｌ ﬁne ½", vec!["full", "fine", "1", "2"]),
        ("你好吗 world", vec!["你好", "好吗", "吗", "world"]),
        ("が か\u{3099}", vec!["が", "が"]),
        ("서울에서", vec!["서울", "울에", "에서", "서"]),
        ("สวัสดี", vec!["สวั", "วัส", "สดี", "ดี"]),
        ("नमस्ते दुनिया", vec!["नमस्ते", "दुनिया"]),
        ("שָׁלוֹם עולם", vec!["שלום", "עולם"]),
        ("السَّلامُ عليكم", vec!["السلام", "عليكم"]),
        ("👍🏽👍 👨‍👩‍👧 ❤️ 🇩🇪", vec!["👍", "👍", "👨\u{200d}👩\u{200d}👧", "❤", "🇩🇪"]),
        ("5 € + 3 $", vec!["5", "€", "3"]),
        ("e\u{301}tude étude", vec!["etude", "etude"]),
        ("Łódź smørrebrød Æsir", vec!["lodz", "smorrebrod", "aesir"]),
        ("п\u{2bc}ять п'ять", vec!["п", "ять", "п", "ять"]),
        ("so\u{ad}ft\u{200b}ly", vec!["softly"]),
        (" \n… --", vec![]),
    ] {
        assert_eq!(tokens(text), expected, "{text}");
    }
    assert_eq!(tokens(&"a".repeat(100)), ["a".repeat(MAX_WORD_CHARS)]);
}

#[test]
fn every_character_can_be_cut_and_coded() {
    for c in '\0'..=char::MAX {
        for token in tokens(&format!("a{c}b {c}")) {
            assert!(!token.is_empty() && !token.contains(char::is_whitespace) && !token.contains('"'), "{c:?} {token:?}");
            assert_eq!(tokens(&token).first().map(String::as_str), Some(token.as_str()), "{c:?} is no fixed point");
            assert!(plain(&token).bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit()));
        }
    }
}

#[test]
fn codes_keep_beginnings_and_tell_words_apart() {
    assert_eq!(plain("a"), "x0a");
    assert_eq!(plain("jazz"), "x0jazzzz");
    assert!(plain("größe").starts_with(&plain("grö")));
    assert_ne!(plain("z0f4"), plain("ö"));
    assert!(plain(&"Ж".repeat(64)).len() <= 84);
}

#[test]
fn what_is_asked_for_is_found() {
    for (query, text) in [
        ("hello world", "The World says hello"),
        ("\"good morning\"", "Good Morning, all"),
        ("mor*", "good morning"),
        ("\"good mor\"*", "good morning"),
        ("hello -world", "hello there"),
        ("tea OR coffee", "a coffee"),
        ("(tea OR coffee) milk", "milk in tea"),
        ("-(tea coffee)", "tea"),
        ("-\"a b\"", "b a"),
        ("好", "你好吗"),
        ("吗", "你好吗"),
        ("你好", "你好吗"),
        ("\"你好吗 world\"", "你好吗 World"),
        ("好吗", "你好吗"),
        ("서울", "서울에서"),
        ("👍", "ok 👍🏿!"),
        ("example.com", "see https://example.com/x"),
        ("alice@example.com", "<alice@example.com>"),
        ("STRASSE", "Straße"),
        ("grosse", "Größe"),
        ("„guten Morgen“", "Guten Morgen"),
        ("AND hello AND world", "hello world"),
        ("-", "anything"),
    ] {
        assert!(found(query, text), "{query} in {text}");
    }
}

#[test]
fn what_is_not_there_is_not_found() {
    for (query, text) in [
        ("hello", "hell"),
        ("\"good morning\"", "morning good"),
        ("\"good morning\"", "good bad morning"),
        ("hello -world", "hello world"),
        ("tea OR coffee", "water"),
        ("mor*", "amor"),
        ("好你", "你好"),
        ("你吗", "你好吗"),
        ("\"好 world\"", "好吗 world"),
        ("or", "and"),
        ("-hello", "hello"),
        ("👍", "👎"),
    ] {
        assert!(!found(query, text), "{query} in {text}");
    }
    let phrase: Text = "\"a b\"".parse().unwrap();
    assert!(!phrase.holds(&Words::of(["a", "b"])), "a phrase crossed from one text to the other");
    assert!("a b".parse::<Text>().unwrap().holds(&Words::of(["a", "b"])));
}

#[test]
fn mistakes_are_said() {
    for (query, mistake) in [
        ("\"open", TextError::Unpaired('"')),
        ("(a", TextError::Unpaired('(')),
        ("a)", TextError::Unpaired(')')),
        ("OR a", TextError::Lonely("OR")),
        ("a OR", TextError::Lonely("an operator")),
        ("a OR OR b", TextError::Lonely("OR")),
    ] {
        assert_eq!(query.parse::<Text>(), Err(mistake), "{query}");
    }
    assert_eq!("(".repeat(50).parse::<Text>(), Err(TextError::Deep));
    assert_eq!("a ".repeat(101).parse::<Text>(), Err(TextError::Terms));
    assert_eq!("a".repeat(5_000).parse::<Text>(), Err(TextError::Long));
    assert!("… ()".parse::<Text>().unwrap().is_empty());
}

#[test]
fn an_index_is_asked_for_single_words() {
    let candidates = |query: &str| query.parse::<Text>().unwrap().candidates();
    let word = |word: &str, is_prefix| Candidates::Word { word: word.to_owned(), is_prefix };
    assert_eq!(candidates("a"), Some(word("a", false)));
    assert_eq!(
        candidates("\"a b\" -c d*"),
        Some(Candidates::All(vec![Candidates::All(vec![word("a", false), word("b", false)]), word("d", true)]))
    );
    assert_eq!(candidates("你好吗"), Some(Candidates::All(vec![word("你好", false), word("好吗", false)])));
    assert_eq!(candidates("你"), Some(word("你", true)));
    assert_eq!(candidates("-a"), None);
    assert_eq!(candidates("a OR -b"), None);
}

#[test]
fn hits_are_marked_where_they_stand() {
    let spans = |query: &str, text: &str| {
        let spans = query.parse::<Text>().unwrap().spans(text);
        spans.into_iter().map(|span| text[span].to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(spans("größe", "Die GRÖSSE, die Größe"), ["GRÖSSE", "Größe"]);
    assert_eq!(spans("mor* -bad", "bad morning"), ["morning"]);
    assert_eq!(spans("好吗", "你好吗"), ["好吗"]);
}

#[test]
fn more_and_shorter_fits_better() {
    let query: Text = "tea OR coffee".parse().unwrap();
    let score = |text: &str| query.score(&Words::of([text]));
    assert!(score("tea and coffee") > score("tea and milk"));
    assert!(score("tea tea") > score("tea milk"));
    assert!(score("tea") > score(&format!("tea {}", "water ".repeat(50))));
    assert_eq!(score("water"), 0);
}
