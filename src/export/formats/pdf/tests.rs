use super::*;
use crate::export::Export;
use crate::export::unit::tests::unit;

fn pdf() -> Pdf {
    let checkpoint = Checkpoint::new(Export::new("main", "Ann"), 0, 3);
    Pdf::new(&checkpoint, TimeZone::UTC).unwrap()
}

#[test]
fn lines_are_not_wider_than_they_may_be() {
    let mut pdf = pdf();
    let words = "word ".repeat(100);
    let long = "x".repeat(500);
    for text in [words.as_str(), long.as_str(), "", "a\nb"] {
        let lines = pdf.faces.lines(text, BODY, 200.0);
        let told: String = lines.iter().map(|line| line.text.as_str()).collect();
        assert_eq!(told, text.replace('\n', ""));
        for line in &lines {
            let width: f32 =
                line.text.trim_end().chars().filter_map(|character| pdf.faces.plain.drawn(character)).map(|drawn| drawn.advance).sum();
            assert!(width * BODY.size <= 200.0 - BODY.indent + 0.1, "{}", line.text);
        }
    }
}

#[test]
fn what_no_font_has_is_written_out() {
    let mut pdf = pdf();
    let lines = pdf.faces.lines("a\u{10ffff}b", BODY, 400.0);
    assert_eq!(lines[0].text, "a[U+10FFFF]b");
}

#[test]
fn a_long_query_and_reason_leave_the_rest_of_the_cover_there() {
    let mut export = Export::new("main", "Ann");
    export.query.rooms = (0..1_000).map(|number| format!("room{number}@rooms.example.com")).collect();
    export.reason = Some("because of this ".repeat(1_000));
    let mut pdf = Pdf::new(&Checkpoint::new(export, 0, 3), TimeZone::UTC).unwrap();
    pdf.volumes = 7;
    let hash = "0123456789abcdef".repeat(4);
    let lines = pdf.cover(&Volume::default(), &hash);
    let height: f32 = lines.iter().map(Line::height).sum();
    assert!(height <= PAGE.1 - 2.0 * MARGIN, "{height}");
    let texts: Vec<&str> = lines.iter().map(|line| line.text.as_str()).collect();
    for text in ["Ann", "Time zone", "UTC", "7 with 0 of 3 messages", "First message", "Last message", hash.as_str()] {
        assert!(texts.contains(&text), "{text}: {texts:?}");
    }
    assert!(texts.iter().any(|line| line.contains("room0@rooms.example.com")) && texts.iter().any(|line| line.contains("because of this")));
    assert_eq!(texts.iter().filter(|line| line.contains("the rest stands in manifest.json")).count(), 2, "{texts:?}");
}

#[test]
fn the_same_units_give_the_same_pages() {
    let made = || {
        let directory = tempfile::tempdir().unwrap();
        let mut folder = Folder::create(&directory.path().join("part")).unwrap();
        let mut pdf = pdf();
        pdf.unit(&unit(&["a", "שלום עולם hello", &"long ".repeat(3_000)]), &mut folder).unwrap();
        pdf.finish(&mut folder).unwrap();
        assert!(pdf.pages > 3);
        std::fs::read(directory.path().join("part/pdf/volume-0001.pdf")).unwrap()
    };
    let one = made();
    assert!(one.starts_with(b"%PDF-") && one == made());
}

#[test]
fn fonts_of_volumes_before_a_break_are_named() {
    let of = |format: Value| {
        let checkpoint = Checkpoint { format, ..Checkpoint::new(Export::new("main", "Ann"), 0, 3) };
        Pdf::new(&checkpoint, TimeZone::UTC).unwrap()
    };
    let earlier = json!({ "file": "/usr/share/fonts/before.ttf", "sha256": "00" });
    let pdf = of(json!({ "volumes": 1, "pages": 4, "fonts": [earlier] }));
    let state = pdf.state().unwrap();
    assert_eq!((&state["volumes"], &state["pages"]), (&json!(1), &json!(4)));
    let fonts = state["fonts"].as_array().unwrap();
    assert!(fonts.contains(&earlier) && fonts.len() > 1, "{state}");
    assert_eq!(of(state.clone()).detail(), state);
    let of_an_older_version = of(json!({ "volumes": 1, "pages": 4 }));
    assert!(!of_an_older_version.detail()["fonts"].as_array().unwrap().is_empty());
}
