//! A real browser walks through every page as each role, narrow and wide, light and dark: nothing is executed, nothing fetched from elsewhere, nothing
//! sticks out of the window.

use std::path::PathBuf;

use xmpp_archiver::access::Role;

use super::exports::withheld;
use super::factor::code;
use super::site::{PASSWORD, Site, Visitor, encoded};
use crate::support::browser::{Browser, Visit};

/// Names of pages, for the pictures.
fn pages(site: &Site, role: Role) -> Vec<(&'static str, String)> {
    let inside = site.message(true, false);
    let own = [("account", "/account"), ("password", "/account/password"), ("token", "/account/tokens"), ("nothing", "/none")];
    let of_role: Vec<(&str, String)> = match role {
        Role::Operator => {
            own_pages(&[("overview", "/overview"), ("gaps", "/gaps?state=all"), ("quarantine", "/quarantine"), ("denied", "/search")])
        }
        Role::Auditor => own_pages(&[
            ("audit", "/audit"),
            ("verification", "/verification"),
            ("gaps", "/gaps"),
            ("quarantine", "/quarantine"),
            ("denied", "/search"),
        ]),
        Role::Administrator => own_pages(&[
            ("accounts", "/accounts"),
            ("account-new", "/accounts/new"),
            ("account-other", "/accounts/one?name=reviewer"),
            ("group", "/accounts/group"),
            ("denied", "/search"),
        ]),
        Role::Reviewer | Role::Officer => {
            let mut pages = own_pages(&[
                ("search", "/search"),
                ("found", "/search?q=oak"),
                ("found-hostile", "/search?who=eve%40lindqvist.example&order=best&q=alert"),
                ("mistake", "/search?from=once&who=x&sender=a%40b"),
                ("rooms", "/rooms"),
                ("room", "/room?name=workshop%40rooms.lindqvist.example"),
                ("room-talk", "/conversation?name=workshop%40rooms.lindqvist.example"),
                ("hostile-talk", "/conversation?name=anna%40lindqvist.example+eve%40lindqvist.example"),
                ("salon", "/conversation?name=salon%40rooms.lindqvist.example"),
                ("denied", "/audit"),
            ]);
            let talk = encoded(inside["conversation"].as_str().expect("a name"));
            pages.push(("talk", format!("/conversation?name={talk}&at={}", inside["id"])));
            pages.push(("message", format!("/message/{}?xml=1", inside["id"])));
            let in_room = site.messages.iter().find(|message| message["kind"] == "correction" && message["room"].is_string());
            pages.extend(in_room.map(|message| ("message-room", format!("/message/{}", message["refers_to"]))));
            if role == Role::Officer {
                pages.extend(own_pages(&[
                    ("hostile-room", "/conversation?name=%5C3cscript%5C3ealert(1)%5C3c%5C2fscript%5C3e%40rooms.lindqvist.example"),
                    ("overview", "/overview"),
                    ("record", "/quarantine/1"),
                    ("exports", "/exports"),
                    ("export", "/exports/1"),
                    ("export-new", "/exports/new?q=oak&kind=file&who=a%40b.example"),
                ]));
            }
            pages
        }
    };
    of_role.into_iter().chain(own_pages(&own)).collect()
}

fn own_pages(pages: &[(&'static str, &str)]) -> Vec<(&'static str, String)> {
    pages.iter().map(|(name, path)| (*name, (*path).to_owned())).collect()
}

/// The pictures are kept where XMPP_ARCHIVER_TEST_PICTURES says, for people to look at.
#[test]
fn every_page_is_well_in_a_browser() {
    let site = Site::new();
    withheld(&site, "The counts do not agree.");
    let pictures = std::env::var_os("XMPP_ARCHIVER_TEST_PICTURES").map(PathBuf::from);
    let origin = format!("http://{}", site.address);
    let mut browser = Browser::new();
    let mut wrong = Vec::new();
    browser.look(360, 900, "dark");
    let visit = browser.visit(&format!("{origin}/sign-in?next=%2Fsearch"));
    assert!(visit.complaints.is_empty() && visit.widths.0 <= visit.widths.1, "{visit:?}");
    if let Some(pictures) = &pictures {
        browser.photograph(&pictures.join("sign-in-360-dark.png"), 360, 2_400);
    }
    for role in Role::ALL {
        let visitor = site.sign_in(role.word());
        browser.cookie(&origin, "session", &visitor.cookies["session"]);
        for (width, scheme) in [(360, "light"), (1440, "dark"), (1440, "light")] {
            browser.look(width, 900, scheme);
            for (name, path) in pages(&site, role) {
                let visit = browser.visit(&format!("{origin}{path}"));
                let title = browser.evaluate("document.querySelector('h1')?.textContent ?? ''");
                let told = format!("{role} {name} at {width} ({scheme})");
                if title == "Sign in" || title == "" {
                    wrong.push(format!("{told}: the page is {title}"));
                }
                // A page that says no is answered with 400, 403 or 404, of which the browser tells.
                let expected = |complaint: &&String| {
                    !(complaint.contains("Failed to load resource") && ["denied", "nothing", "mistake"].contains(&name))
                };
                wrong.extend(visit.complaints.iter().filter(expected).map(|complaint| format!("{told}: {complaint}")));
                let elsewhere = visit.requests.iter().filter(|url| !url.starts_with(&origin) && !url.starts_with("about:"));
                wrong.extend(elsewhere.map(|url| format!("{told} fetched {url}")));
                if visit.widths.0 > visit.widths.1 {
                    wrong.push(format!("{told} is {} wide", visit.widths.0));
                }
                if let Some(pictures) = &pictures {
                    browser.photograph(&pictures.join(format!("{role}-{name}-{width}-{scheme}.png")), width, 2_400);
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// What is seen only after a form was sent: ways in, ways that are closed, and what is shown this once.
#[test]
fn every_answer_to_a_form_is_well_in_a_browser() {
    let site = Site::new();
    let administrator = site.sign_in("administrator");
    let csrf = site.get("/accounts/new", &administrator).csrf();
    for name in ["kim", "lee"] {
        let made =
            site.post("/accounts/new", &administrator, &[("csrf", &csrf), ("name", name), ("password", PASSWORD), ("role", "officer")]);
        assert_eq!(made.status, 303, "{}", made.body);
    }
    let origin = format!("http://{}", site.address);
    let mut browser = Browser::new();
    let mut seen = Vec::new();
    let filled = |fields: &[(&str, &str)]| -> String {
        let set = |(name, value): &(&str, &str)| format!("document.querySelector('main [name={name}]').value = {value:?};");
        fields.iter().map(set).collect::<String>() + "document.querySelector('main form[method=post] button').click()"
    };
    let sign_in = |browser: &mut Browser, name: &str, password: &str| {
        browser.visit(&format!("{origin}/sign-in"));
        browser.go(&filled(&[("name", name), ("password", password)]))
    };
    let visit = sign_in(&mut browser, "kim", PASSWORD);
    looked_at(&mut browser, &mut seen, "password-first", &visit);
    browser.cookie(&origin, "session", "none");
    let officer = site.sign_in("officer");
    browser.cookie(&origin, "session", &officer.cookies["session"]);
    browser.visit(&format!("{origin}/account/tokens"));
    let visit = browser.go(&filled(&[("name", "backup"), ("password", PASSWORD)]));
    looked_at(&mut browser, &mut seen, "token-secret", &visit);
    browser.visit(&format!("{origin}/account"));
    let visit = browser.go("document.querySelector('form[action=\"/account/totp\"] button').click()");
    looked_at(&mut browser, &mut seen, "totp-password", &visit);
    let visit = browser.go(&filled(&[("password", PASSWORD)]));
    looked_at(&mut browser, &mut seen, "totp-offer", &visit);
    let secret = browser.evaluate("document.querySelector('.secret').textContent").as_str().expect("a secret").to_owned();
    let visit = browser.go(&filled(&[("code", &code(&secret, 0))]));
    looked_at(&mut browser, &mut seen, "recovery-codes", &visit);
    let visit = sign_in(&mut browser, "officer", PASSWORD);
    looked_at(&mut browser, &mut seen, "code", &visit);
    let visit = browser.go(&filled(&[("code", &code(&secret, 30))]));
    looked_at(&mut browser, &mut seen, "signed-in", &visit);
    site.archiver.store.query("PRAGMA busy_timeout = 30000; ALTER TABLE conversation_names RENAME TO gone");
    let visit = browser.visit(&format!("{origin}/conversation?name=x"));
    looked_at(&mut browser, &mut seen, "away", &visit);
    for _ in 0..5 {
        sign_in(&mut browser, "lee", "wrong");
    }
    let visit = sign_in(&mut browser, "lee", PASSWORD);
    looked_at(&mut browser, &mut seen, "locked", &visit);
    let page = site.get("/sign-in", &Visitor::default());
    let mut guesser = Visitor::default();
    guesser.keep(&page, "form");
    let token = page.csrf();
    while site.post("/sign-in", &guesser, &[("csrf", &token), ("name", "nobody"), ("password", "wrong")]).status != 429 {}
    let visit = sign_in(&mut browser, "nobody", "wrong");
    looked_at(&mut browser, &mut seen, "too-many", &visit);
    let headings: Vec<(&str, &str)> = seen.iter().map(|(name, heading)| (*name, heading.as_str())).collect();
    assert_eq!(
        headings,
        [
            ("password-first", "Change your password"),
            ("token-secret", "The new token"),
            ("totp-password", "Set up a second factor"),
            ("totp-offer", "Set up a second factor"),
            ("recovery-codes", "Recovery codes"),
            ("code", "Sign in"),
            ("signed-in", "Overview"),
            ("away", "A store does not answer"),
            ("locked", "Sign in"),
            ("too-many", "Sign in"),
        ]
    );
}

/// A page at two widths, as it is.
fn looked_at(browser: &mut Browser, seen: &mut Vec<(&'static str, String)>, name: &'static str, visit: &Visit) {
    // Of an answer that says no the browser tells.
    let complaints: Vec<&String> = visit.complaints.iter().filter(|complaint| !complaint.contains("Failed to load resource")).collect();
    assert!(complaints.is_empty(), "{name}: {complaints:?}");
    for (width, scheme) in [(360, "dark"), (1440, "light")] {
        browser.look(width, 900, scheme);
        let is_within = browser.evaluate("document.documentElement.scrollWidth <= document.documentElement.clientWidth");
        assert_eq!(is_within, true, "{name} sticks out at {width}");
        if let Some(pictures) = std::env::var_os("XMPP_ARCHIVER_TEST_PICTURES").map(PathBuf::from) {
            browser.photograph(&pictures.join(format!("{name}-{width}-{scheme}.png")), width, 2_400);
        }
    }
    let heading = browser.evaluate("document.querySelector('h1')?.textContent ?? ''");
    seen.push((name, heading.as_str().expect("a text").to_owned()));
}

/// What a screen reader and a keyboard need: every field has a label, every page one heading, and the first stop leads to the content.
#[test]
fn every_page_can_be_used_without_seeing_it() {
    const LACKS: &str = "JSON.stringify([...document.querySelectorAll('input:not([type=hidden], [hidden]), select, textarea')].filter(field => \
                         !field.labels.length).map(field => field.outerHTML).concat([...document.querySelectorAll('button, a')].filter(control => \
                         !control.textContent.trim()).map(control => control.outerHTML)).concat(document.querySelectorAll('h1').length === 1 ? [] : \
                         ['headings']).concat(document.querySelector('a')?.className === 'skip' ? [] : ['skip']).concat(document.querySelector('main') \
                         ? [] : ['main']).concat([...document.querySelectorAll('[id]')].filter((one, index, all) => all.findIndex(other => other.id \
                         === one.id) !== index).map(one => 'twice ' + one.id)))";
    let site = Site::new();
    withheld(&site, "The counts do not agree.");
    let origin = format!("http://{}", site.address);
    let mut browser = Browser::new();
    browser.look(1440, 900, "light");
    let mut wrong = Vec::new();
    for role in Role::ALL {
        let visitor = site.sign_in(role.word());
        browser.cookie(&origin, "session", &visitor.cookies["session"]);
        for (name, path) in pages(&site, role) {
            browser.visit(&format!("{origin}{path}"));
            let lacks = browser.evaluate(LACKS);
            if lacks != "[]" {
                wrong.push(format!("{role} {name}: {lacks}"));
            }
        }
    }
    browser.cookie(&origin, "session", "none");
    browser.visit(&format!("{origin}/sign-in"));
    assert_eq!(browser.evaluate(LACKS), "[]", "the sign-in");
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
