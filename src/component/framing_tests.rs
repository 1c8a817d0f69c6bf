//! The scanner against hand-made streams, against quick-xml, and against noise.

use super::*;
use proptest::prelude::*;
use quick_xml::events::Event;

/// A frame with its bytes, to be compared.
#[derive(Debug, PartialEq, Eq, Clone)]
enum Owned {
    Open(String),
    Stanza(String),
    Close,
    Oversize(String, u64),
    Violation(Violation),
}

const HEAD: &str = "<stream:stream xmlns='jabber:component:accept' from='a' id='1'>";

fn lossy(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

fn own(frame: Frame<'_>) -> Owned {
    match frame {
        Frame::StreamOpen(bytes) => Owned::Open(lossy(bytes)),
        Frame::Stanza(bytes) => Owned::Stanza(lossy(bytes)),
        Frame::StreamClose => Owned::Close,
        Frame::Oversize { head, total_bytes } => Owned::Oversize(lossy(&head), total_bytes),
        Frame::Violation(violation) => Owned::Violation(violation),
    }
}

/// The frames of an input that comes in chunks of the sizes given, over and over, and the most memory ever held.
fn frames_of(input: &[u8], sizes: &[usize], limit: usize) -> (Vec<Owned>, usize) {
    let mut framer = Framer::new(limit);
    let (mut frames, mut rest, mut most) = (Vec::new(), input, 0);
    for size in sizes.iter().cycle() {
        if rest.is_empty() {
            break;
        }
        let (chunk, later) = rest.split_at((*size).clamp(1, rest.len()));
        framer.push(chunk);
        while let Some(frame) = framer.next_frame() {
            frames.push(own(frame));
        }
        most = most.max(framer.buffer.len());
        rest = later;
    }
    (frames, most)
}

fn check(body: &str, expected: &[Owned]) {
    let input = format!("<?xml version='1.0'?>{HEAD}{body}");
    for sizes in [&[usize::MAX][..], &[1], &[2], &[3, 1, 7]] {
        let (frames, _) = frames_of(input.as_bytes(), sizes, 8192);
        assert_eq!(frames.first(), Some(&Owned::Open(HEAD.to_owned())));
        assert_eq!(frames.get(1..), Some(expected), "{body} in chunks of {sizes:?}");
    }
}

fn stanza(text: &str) -> Owned {
    Owned::Stanza(text.to_owned())
}

#[test]
fn stanzas_come_verbatim() {
    for text in [
        "<message/>",
        "<message></message>",
        "<message a='>' b=\"'/>\"><body>1 &gt; 0 / ></body></message>",
        "<message><a/><b><c/></b>]]>--></message>",
        "<message><!-- <x> -- </y> -> --><a/></message>",
        "<message><!----></message>",
        "<message><![CDATA[</message>]] ]]]></message>",
        "<message><?php <a> ? > ?></message>",
        "<message><!DOCTYPE x SYSTEM 'a>b'></message>",
        "<x:message><y:body z:a=''>unbound</y:body></x:message>",
        "<message to='a'to='b'/>",
        "<message><a></b></message>",
        "<message>\u{1f600}\u{202e}\u{0}</message >",
        "<></>",
    ] {
        check(text, &[stanza(text)]);
        check(&format!(" \n{text}\t{text}"), &[stanza(text), stanza(text)]);
    }
}

#[test]
fn the_end_of_the_stream_ends_everything() {
    check("<a/></stream:stream><b/>", &[stanza("<a/>"), Owned::Close]);
    check("</stream:stream >junk", &[Owned::Close]);
}

#[test]
fn white_space_and_comments_between_stanzas_are_ignored() {
    check(" \r\n\t<a/> <!-- <b/> --> <c/>\n", &[stanza("<a/>"), stanza("<c/>")]);
}

#[test]
fn what_a_stream_may_not_contain_is_told_and_skipped() {
    use Owned::Violation as Told;
    check("junk <a/>", &[Told(Violation::Text), stanza("<a/>")]);
    check("<![CDATA[junk]]><a/>", &[Told(Violation::Text), stanza("<a/>")]);
    check("<!DOCTYPE a><a/>", &[Told(Violation::Declaration), stanza("<a/>")]);
    check("<!DOCTYPE a [<!ENTITY b 'c>'>]><a/>", &[Told(Violation::Declaration), Told(Violation::Text), stanza("<a/>")]);
    check("<?xml version='1.0'?><a/>", &[Told(Violation::Instruction), stanza("<a/>")]);
    check("<a/></a><b/>", &[stanza("<a/>"), Told(Violation::EndTag)]);
}

#[test]
fn an_answer_that_is_no_stream_is_told() {
    let (frames, _) = frames_of(b"HTTP/1.1 400 Bad Request\r\n\r\n", &[4], 8192);
    assert_eq!(frames, [Owned::Violation(Violation::Text)]);
    let (frames, _) = frames_of(b"<?php ?>", &[1], 8192);
    assert_eq!(frames, [Owned::Violation(Violation::Instruction)]);
}

#[test]
fn a_stanza_over_the_limit_is_skipped_and_the_next_one_arrives() {
    let long = format!("<message from='eve'><body>{}</body></message>", "x<y/>".repeat(4000));
    let told = Owned::Oversize("<message from='eve'>".to_owned(), long.len() as u64);
    check(&format!("{long}<a/>"), &[told, stanza("<a/>")]);
}

#[test]
fn the_kept_head_of_a_long_stanza_is_short() {
    for end in ["/>", ">text<a/></m>"] {
        let long = format!("<m a='{}'{end}", ">".repeat(20_000));
        let head = long.chars().take(OVERSIZE_HEAD_BYTES).collect();
        check(&format!("{long}<a/>"), &[Owned::Oversize(head, long.len() as u64), stanza("<a/>")]);
    }
}

#[test]
fn a_stanza_of_exactly_the_limit_passes() {
    let text = format!("<m>{}</m>", "x".repeat(8192 - 7));
    check(&text, &[stanza(&text)]);
    let text = format!("<m>{}</m>", "x".repeat(8192 - 6));
    check(&text, &[Owned::Oversize("<m>".to_owned(), 8193)]);
}

#[test]
fn memory_stays_bounded_whatever_never_ends() {
    let junk = vec![b'x'; 3_000_000];
    for opening in ["", "<a ", "<a b='", "<a>", "<a><!--", "<a><![CDATA[", "<!--", "<!DOCTYPE", "<?b", "</stream:stream ", "text"] {
        let input = [HEAD.as_bytes(), opening.as_bytes(), &junk].concat();
        let (frames, most) = frames_of(&input, &[10_000], 20_000);
        assert!(most <= 20_000 + 2 * 10_000, "{opening}: {most} bytes held");
        assert!(frames.len() <= 2, "{opening}: {frames:?}");
        let mut framer = Framer::new(20_000);
        framer.push(opening.as_bytes());
        framer.push(&junk);
        while framer.next_frame().is_some() {}
        framer.push(b"<");
        assert!(framer.buffer.len() < 4 * 1024 * 1024);
    }
}

#[test]
fn any_depth_is_only_a_number() {
    let deep = format!("{}{}", "<a>".repeat(500_000), "</a>".repeat(500_000));
    let input = format!("{HEAD}{deep}<b/>");
    let (frames, _) = frames_of(input.as_bytes(), &[65_536], 10_000_000);
    assert_eq!(frames.len(), 3);
    assert_eq!(frames.get(2), Some(&stanza("<b/>")));
}

/// The spans of the top-level elements as quick-xml sees them.
fn spans_by_quick_xml(input: &str) -> Vec<String> {
    let mut reader = quick_xml::Reader::from_str(input);
    let (mut depth, mut start, mut spans) = (0, 0, Vec::new());
    loop {
        let before = usize::try_from(reader.buffer_position()).unwrap();
        let event = reader.read_event().unwrap();
        let after = usize::try_from(reader.buffer_position()).unwrap();
        match event {
            Event::Start(_) => {
                depth += 1;
                if depth == 2 {
                    start = before;
                }
            }
            Event::Empty(_) if depth == 1 => spans.push(input[before..after].to_owned()),
            Event::End(_) => {
                depth -= 1;
                if depth == 1 {
                    spans.push(input[start..after].to_owned());
                }
            }
            Event::Eof => return spans,
            _ => {}
        }
    }
}

/// Well-formed elements with everything in them that could confuse a scanner.
fn element() -> impl Strategy<Value = String> {
    let leaf = prop_oneof![
        "[a-z >\"'/\n\u{e9}\u{1f600}]{0,20}",
        "[a-z<>&\"'/! ?]{0,20}".prop_map(|text| format!("<![CDATA[{text}]]>")),
        "[a-z<>&\"'/!? ]{0,20}".prop_map(|text| format!("<!--{text}-->")),
        "[a-z<>&\"'/! ]{0,20}".prop_map(|text| format!("<?p {text}?>")),
        ("[a-z]{1,5}", "[a-z>/\"=? ]{0,9}").prop_map(|(name, value)| format!("<{name} a='{value}'/>")),
    ];
    let content = leaf.prop_recursive(4, 40, 5, |inner| {
        ("[a-z:]{1,6}", "[a-z>/'=? ]{0,9}", prop::collection::vec(inner, 0..5))
            .prop_map(|(name, value, inner)| format!("<{name} b=\"{value}\" >{}</{name}>", inner.concat()))
    });
    content.prop_map(|inner| format!("<message>{inner}</message>"))
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_chunking_of_well_formed_input_gives_what_quick_xml_sees(
        elements in prop::collection::vec(element(), 0..6),
        gaps in prop::collection::vec("[ \n]{0,3}", 6),
        sizes in prop::collection::vec(1usize..60, 1..20),
    ) {
        let pairs = elements.iter().zip(&gaps);
        let body: String = pairs.map(|(element, gap)| format!("{gap}{element}")).collect();
        let input = format!("<?xml version='1.0'?>{HEAD}{body}</stream:stream>");
        let (frames, _) = frames_of(input.as_bytes(), &sizes, 1_000_000);
        let mut expected = vec![Owned::Open(HEAD.to_owned())];
        expected.extend(spans_by_quick_xml(&input).into_iter().map(Owned::Stanza));
        prop_assert_eq!(expected.len(), elements.len() + 1);
        expected.push(Owned::Close);
        prop_assert_eq!(&frames, &expected);
        let stanzas = frames.iter().filter_map(|frame| match frame { Owned::Stanza(text) => Some(text.as_str()), _ => None });
        prop_assert_eq!(stanzas.collect::<String>(), elements.concat());
    }

    #[test]
    fn noise_never_panics_and_chunks_never_matter(
        pieces in prop::collection::vec(prop_oneof![
            Just(b"<".to_vec()), Just(b">".to_vec()), Just(b"/".to_vec()), Just(b"</".to_vec()), Just(b"/>".to_vec()),
            Just(b"'".to_vec()), Just(b"\"".to_vec()), Just(b"<!--".to_vec()), Just(b"-->".to_vec()), Just(b"-".to_vec()),
            Just(b"<![CDATA[".to_vec()), Just(b"]]>".to_vec()), Just(b"<?".to_vec()), Just(b"?>".to_vec()), Just(b"<!".to_vec()),
            Just(b"<a>".to_vec()), Just(b"</a>".to_vec()), Just(b" ".to_vec()), Just(b"</stream:stream>".to_vec()),
            Just(vec![b'x'; 3000]), prop::collection::vec(any::<u8>(), 0..10),
        ], 0..60),
        headed in any::<bool>(),
        sizes in prop::collection::vec(1usize..40, 1..20),
    ) {
        let mut input = if headed { HEAD.as_bytes().to_vec() } else { Vec::new() };
        input.extend(pieces.concat());
        let (whole, _) = frames_of(&input, &[usize::MAX], 4096);
        let (chunked, most) = frames_of(&input, &sizes, 4096);
        prop_assert!(most <= 4096 + 40 + 16, "{} bytes held", most);
        prop_assert_eq!(whole, chunked);
    }
}

/// Not a test but a measure: `cargo test --release -- --ignored --nocapture speed_of_the_scanner`.
#[test]
#[ignore = "a measurement"]
fn speed_of_the_scanner() {
    let one = format!(
        "<message to='archive.example.com' from='example.com' id='9110445778467208510'><forwarded xmlns='urn:xmpp:forward:0'>\
         <message xml:lang='en' to='bob@example.com' from='alice@example.com/desk' type='chat' id='fc6a' xmlns='jabber:client'>\
         <body>{}</body><origin-id xmlns='urn:xmpp:sid:0' id='fc6a'/><active xmlns='http://jabber.org/protocol/chatstates'/>\
         <request xmlns='urn:xmpp:receipts'/></message></forwarded></message>",
        "lorem ipsum ".repeat(30)
    );
    let batch = one.repeat(300);
    let mut framer = Framer::new(10_000_000);
    framer.push(HEAD.as_bytes());
    let (started, mut frames) = (std::time::Instant::now(), 0_u64);
    for _ in 0..2000 {
        framer.push(batch.as_bytes());
        while framer.next_frame().is_some() {
            frames += 1;
        }
    }
    let seconds = started.elapsed().as_secs_f64();
    println!("{:.0} stanzas/s, {:.2} GB/s", frames as f64 / seconds, (batch.len() * 2000) as f64 / seconds / 1e9);
}
