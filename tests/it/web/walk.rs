//! A real browser walks through every page as each role, narrow and wide, light and dark: nothing is executed, nothing fetched from elsewhere, nothing
//! sticks out of the window.

use std::path::PathBuf;

use xmpp_archiver::access::Role;

use super::exports::withheld;
use super::site::{Site, encoded};
use crate::support::browser::Browser;

/// Names of pages, for the pictures.
fn pages(site: &Site, role: Role) -> Vec<(&'static str, String)> {
    let inside = site.message(true, false);
    let own = [("account", "/account"), ("password", "/account/password"), ("token", "/account/tokens"), ("nothing", "/none")];
    let of_role: Vec<(&str, String)> = match role {
        Role::Operator => {
            own_pages(&[("overview", "/overview"), ("gaps", "/gaps?state=all"), ("quarantine", "/quarantine"), ("denied", "/search")])
        }
        Role::Auditor => own_pages(&[("audit", "/audit"), ("gaps", "/gaps"), ("quarantine", "/quarantine")]),
        Role::Administrator => own_pages(&[
            ("accounts", "/accounts"),
            ("account-new", "/accounts/new"),
            ("account-other", "/accounts/one?name=reviewer"),
            ("group", "/accounts/group"),
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
            ]);
            let talk = encoded(inside["conversation"].as_str().expect("a name"));
            pages.push(("talk", format!("/conversation?name={talk}&at={}", inside["id"])));
            pages.push(("message", format!("/message/{}?xml=1", inside["id"])));
            let in_room = site.messages.iter().find(|message| message["kind"] == "correction" && message["room"].is_string());
            pages.extend(in_room.map(|message| ("message-room", format!("/message/{}", message["refers_to"]))));
            if role == Role::Officer {
                pages.extend(own_pages(&[
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
