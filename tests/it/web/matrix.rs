//! Each role and each page, inside and outside the scope: the table is written by hand.

use xmpp_archiver::access::{NewToken, Role};

use super::site::{Site, Visitor, encoded};

/// Operator, reviewer, officer, auditor, administrator.
type Row = (&'static str, [u16; 5]);

/// Pages. IN and OUT are messages within the reviewer's scope and beyond it, IN-TALK and OUT-TALK their conversations.
const PAGES: [Row; 35] = [
    ("/", [303, 303, 303, 303, 303]),
    ("/overview", [200, 403, 200, 403, 403]),
    ("/search", [403, 200, 200, 403, 403]),
    ("/search?q=oak", [403, 200, 200, 403, 403]),
    ("/search?id=OUT", [403, 200, 200, 403, 403]),
    ("/conversation?name=IN-TALK", [403, 200, 200, 403, 403]),
    ("/conversation?name=OUT-TALK", [403, 404, 200, 403, 403]),
    ("/conversation?name=IN-TALK&at=IN", [403, 200, 200, 403, 403]),
    ("/conversation?name=IN-TALK&at=OUT", [403, 404, 404, 403, 403]),
    ("/conversation?name=OUT-TALK&at=OUT", [403, 404, 200, 403, 403]),
    ("/message/IN", [403, 200, 200, 403, 403]),
    ("/message/OUT", [403, 404, 200, 403, 403]),
    ("/message/IN?xml=1", [403, 200, 200, 403, 403]),
    ("/message/OUT?xml=1", [403, 404, 200, 403, 403]),
    ("/message/999999", [403, 404, 404, 403, 403]),
    ("/rooms", [403, 200, 200, 403, 403]),
    ("/room?name=workshop%40rooms.lindqvist.example", [403, 200, 200, 403, 403]),
    ("/room?name=none%40rooms.lindqvist.example", [403, 404, 404, 403, 403]),
    ("/exports", [403, 403, 200, 403, 403]),
    ("/exports/new?q=oak", [403, 403, 200, 403, 403]),
    ("/exports/new", [403, 403, 200, 403, 403]),
    ("/exports/999", [403, 403, 404, 403, 403]),
    ("/exports/999/download", [403, 403, 404, 403, 403]),
    ("/gaps?state=all", [200, 403, 200, 200, 403]),
    ("/quarantine", [200, 403, 200, 200, 403]),
    ("/quarantine/1", [403, 403, 200, 403, 403]),
    ("/quarantine/2", [403, 403, 404, 403, 403]),
    ("/accounts", [403, 403, 403, 403, 200]),
    ("/accounts/new", [403, 403, 403, 403, 200]),
    ("/accounts/one?name=officer", [403, 403, 403, 403, 200]),
    ("/accounts/group", [403, 403, 403, 403, 200]),
    ("/audit", [403, 403, 403, 200, 403]),
    ("/account", [200, 200, 200, 200, 200]),
    ("/account/password", [200, 200, 200, 200, 200]),
    ("/account/tokens", [200, 200, 200, 200, 200]),
];

/// Forms, sent without anything in them but the token.
const FORMS: [Row; 8] = [
    ("/exports/new", [403, 403, 200, 403, 403]),
    ("/exports/999", [403, 403, 404, 403, 403]),
    ("/gaps/1/close", [400, 403, 400, 403, 403]),
    ("/accounts/new", [403, 403, 403, 403, 200]),
    ("/accounts/one", [403, 403, 403, 403, 404]),
    ("/accounts/group", [403, 403, 403, 403, 200]),
    ("/account/tokens/999/revoke", [404, 404, 404, 404, 404]),
    ("/account/zone", [400, 400, 400, 400, 400]),
];

/// Calls of the API.
const CALLS: [Row; 18] = [
    ("/me", [200, 200, 200, 200, 200]),
    ("/messages?q=oak", [403, 200, 200, 403, 403]),
    ("/messages/IN", [403, 200, 200, 403, 403]),
    ("/messages/OUT", [403, 404, 200, 403, 403]),
    ("/messages/IN?xml=true", [403, 200, 200, 403, 403]),
    ("/messages/OUT?xml=true", [403, 404, 200, 403, 403]),
    ("/rooms", [403, 200, 200, 403, 403]),
    ("/stays?room=workshop%40rooms.lindqvist.example", [403, 200, 200, 403, 403]),
    ("/stays?room=none%40rooms.lindqvist.example", [403, 404, 404, 403, 403]),
    ("/exports", [403, 403, 200, 403, 403]),
    ("/exports/999", [403, 403, 404, 403, 403]),
    ("/exports/999/download", [403, 403, 404, 403, 403]),
    ("/status", [200, 403, 200, 403, 403]),
    ("/gaps", [200, 403, 200, 200, 403]),
    ("/quarantine", [200, 403, 200, 200, 403]),
    ("/accounts", [403, 403, 403, 403, 200]),
    ("/audit", [403, 403, 403, 200, 403]),
    ("/openapi.json", [200, 200, 200, 200, 200]),
];

fn filled(site: &Site, path: &str) -> String {
    let (inside, outside) = (site.message(true, false), site.message(false, false));
    let talk = |message: &serde_json::Value| encoded(message["conversation"].as_str().expect("a name"));
    let path = path.replace("IN-TALK", &talk(inside)).replace("OUT-TALK", &talk(outside));
    path.replace("OUT", &outside["id"].to_string()).replace("IN", &inside["id"].to_string())
}

#[test]
fn each_role_sees_what_the_table_says() {
    let site = Site::new();
    for (index, role) in Role::ALL.into_iter().enumerate() {
        let visitor = site.sign_in(role.word());
        for (path, expected) in PAGES {
            let answer = site.get(&filled(&site, path), &visitor);
            assert_eq!(answer.status, expected[index], "{role} {path}: {}", answer.body);
        }
        let token = site.get("/account", &visitor).csrf();
        for (path, expected) in FORMS {
            let answer = site.post(path, &visitor, &[("csrf", &token)]);
            assert_eq!(answer.status, expected[index], "{role} {path}: {}", answer.body);
        }
        let bearer = site.token(role.word(), NewToken::default());
        for (path, expected) in CALLS {
            let answer = site.call(&filled(&site, path), &bearer);
            assert_eq!(answer.status, expected[index], "{role} {path}: {}", answer.body);
        }
    }
}

#[test]
fn whoever_is_not_signed_in_sees_nothing() {
    let site = Site::new();
    let stranger = Visitor::default();
    let mut forged = Visitor::default();
    forged.cookies.insert("session".to_owned(), "x".repeat(43));
    for visitor in [&stranger, &forged] {
        for (path, _) in PAGES {
            let answer = site.get(path, visitor);
            assert_eq!((answer.status, answer.header("location").starts_with("/sign-in")), (303, true), "{path}");
            assert!(answer.body.is_empty());
        }
        for (path, _) in FORMS {
            let answer = site.post(path, visitor, &[]);
            assert_eq!((answer.status, answer.header("location")), (303, "/sign-in"), "{path}");
        }
    }
    for (path, _) in CALLS.iter().filter(|(path, _)| *path != "/openapi.json") {
        for header in ["", "Authorization: Bearer xa_none\r\n", "Authorization: Basic eDp5\r\n", "Cookie: session=x\r\n"] {
            let answer = site.ask("GET", &format!("/api/v1{path}"), header, "");
            assert_eq!((answer.status, answer.header("www-authenticate")), (401, "Bearer"), "{path}");
        }
    }
}

/// What is in the routes is in the tables, so that no page is forgotten.
#[test]
fn every_route_is_in_the_tables() {
    let routes = include_str!("../../../src/web/routes.rs");
    let calls = include_str!("../../../src/web/api.rs");
    let quoted = |text: &'static str| text.split(".route(\"").skip(1).map(|rest| rest.split('"').next().expect("a path"));
    let open = ["/sign-in", "/sign-in/provider", "/icon.svg"];
    let own = ["/sign-out", "/account/totp", "/account/sessions"];
    let covers = |table: &[Row], route: &str| {
        let begin = route.split('{').next().expect("a begin");
        table.iter().any(|(path, _)| path.split('?').next() == Some(route) || (begin != route && path.starts_with(begin)))
    };
    for route in quoted(routes).filter(|route| !open.contains(route) && !own.contains(route)) {
        assert!(covers(&PAGES, route) || covers(&FORMS, route), "{route} is in no table");
    }
    for route in quoted(calls) {
        assert!(covers(&CALLS, route), "{route} is in no table");
    }
}
