//! Each role, each sort of scope and each route: the tables are written by hand and have a row for whatever the router answers.

use std::collections::BTreeSet;

use serde_json::{Value, json};
use xmpp_archiver::access::{NewToken, Role, Scope};

use super::exports::withheld;
use super::scopes::{self, REVIEWERS};
use super::site::{Answer, Site, Visitor, encoded};
use crate::support::process::wait_for;

/// A method with a route as the router has it; what stands in place of `{id}`, and the query; the status for operator, reviewer, officer, auditor,
/// administrator. IN and OUT are messages within the reviewer's scope and beyond it, IN-TALK and OUT-TALK their conversations, OUT-ROOM a room of which
/// nothing is within.
type Row = (&'static str, &'static str, [u16; 5]);

/// What is asked for and changes nothing.
const LOOKS: [Row; 81] = [
    ("GET /", "", [303, 303, 303, 303, 303]),
    ("GET /overview", "", [200, 403, 200, 403, 403]),
    ("GET /search", "", [403, 200, 200, 403, 403]),
    ("GET /search", "?q=oak", [403, 200, 200, 403, 403]),
    ("GET /search", "?go=1", [403, 200, 200, 403, 403]),
    ("GET /search", "?id=IN", [403, 200, 200, 403, 403]),
    ("GET /search", "?id=OUT", [403, 200, 200, 403, 403]),
    ("GET /search", "?room=OUT-ROOM", [403, 200, 200, 403, 403]),
    ("GET /conversation", "?name=IN-TALK", [403, 200, 200, 403, 403]),
    ("GET /conversation", "?name=OUT-TALK", [403, 404, 200, 403, 403]),
    ("GET /conversation", "?name=IN-TALK&at=IN", [403, 200, 200, 403, 403]),
    ("GET /conversation", "?name=IN-TALK&at=OUT", [403, 404, 404, 403, 403]),
    ("GET /conversation", "?name=OUT-TALK&at=OUT", [403, 404, 200, 403, 403]),
    ("GET /message/{id}", "IN", [403, 200, 200, 403, 403]),
    ("GET /message/{id}", "OUT", [403, 404, 200, 403, 403]),
    ("GET /message/{id}", "IN?xml=1", [403, 200, 200, 403, 403]),
    ("GET /message/{id}", "OUT?xml=1", [403, 404, 200, 403, 403]),
    ("GET /rooms", "", [403, 200, 200, 403, 403]),
    ("GET /room", "?name=IN-ROOM", [403, 200, 200, 403, 403]),
    ("GET /room", "?name=OUT-ROOM", [403, 404, 200, 403, 403]),
    ("GET /room", "?name=IN-ROOM&after=1:1", [403, 200, 200, 403, 403]),
    ("GET /room", "?name=OUT-ROOM&after=1:1", [403, 404, 200, 403, 403]),
    ("GET /room", "?name=none%40rooms.lindqvist.example", [403, 404, 404, 403, 403]),
    ("GET /exports", "", [403, 403, 200, 403, 403]),
    ("GET /exports/new", "", [403, 403, 200, 403, 403]),
    ("GET /exports/new", "?id=OUT", [403, 403, 200, 403, 403]),
    ("GET /exports/{id}", "1", [403, 403, 200, 403, 403]),
    ("GET /exports/{id}", "999", [403, 403, 404, 403, 403]),
    ("GET /exports/{id}/download", "1", [403, 403, 404, 403, 403]),
    ("GET /exports/{id}/download", "2", [403, 403, 200, 403, 403]),
    ("GET /exports/{id}/download", "999", [403, 403, 404, 403, 403]),
    ("GET /gaps", "?state=all", [200, 403, 200, 200, 403]),
    ("GET /quarantine", "", [200, 403, 200, 200, 403]),
    ("GET /quarantine/{id}", "1", [403, 403, 200, 403, 403]),
    ("GET /quarantine/{id}", "999", [403, 403, 404, 403, 403]),
    ("GET /accounts", "", [403, 403, 403, 403, 200]),
    ("GET /accounts/new", "", [403, 403, 403, 403, 200]),
    ("GET /accounts/one", "?name=officer", [403, 403, 403, 403, 200]),
    ("GET /accounts/group", "?name=visitors", [403, 403, 403, 403, 200]),
    ("GET /audit", "", [403, 403, 403, 200, 403]),
    ("GET /audit/export", "", [403, 403, 403, 200, 403]),
    ("GET /verification", "?days=30", [403, 403, 403, 200, 403]),
    ("GET /account", "", [200, 200, 200, 200, 200]),
    ("GET /account/password", "", [200, 200, 200, 200, 200]),
    ("GET /account/tokens", "", [200, 200, 200, 200, 200]),
    ("GET /api/v1/me", "", [200, 200, 200, 200, 200]),
    ("GET /api/v1/messages", "?q=oak", [403, 200, 200, 403, 403]),
    ("GET /api/v1/messages", "?limit=500", [403, 200, 200, 403, 403]),
    ("GET /api/v1/messages", "?id=IN", [403, 200, 200, 403, 403]),
    ("GET /api/v1/messages", "?id=OUT", [403, 200, 200, 403, 403]),
    ("GET /api/v1/messages", "?room=OUT-ROOM", [403, 200, 200, 403, 403]),
    ("GET /api/v1/messages", "?conversation=OUT-TALK", [403, 200, 200, 403, 403]),
    ("GET /api/v1/messages", "?conversation=OUT-TALK&count=true&context=5", [403, 200, 200, 403, 403]),
    ("GET /api/v1/messages", "?limit=50&context=20&count=true", [403, 200, 200, 403, 403]),
    ("GET /api/v1/messages/{id}", "IN", [403, 200, 200, 403, 403]),
    ("GET /api/v1/messages/{id}", "OUT", [403, 404, 200, 403, 403]),
    ("GET /api/v1/messages/{id}", "IN?xml=true", [403, 200, 200, 403, 403]),
    ("GET /api/v1/messages/{id}", "OUT?xml=true", [403, 404, 200, 403, 403]),
    ("GET /api/v1/rooms", "", [403, 200, 200, 403, 403]),
    ("GET /api/v1/stays", "?room=IN-ROOM", [403, 200, 200, 403, 403]),
    ("GET /api/v1/stays", "?room=OUT-ROOM", [403, 404, 200, 403, 403]),
    ("GET /api/v1/stays", "?room=IN-ROOM&after=1:1", [403, 200, 200, 403, 403]),
    ("GET /api/v1/stays", "?room=OUT-ROOM&after=1:1", [403, 404, 200, 403, 403]),
    ("GET /api/v1/exports", "", [403, 403, 200, 403, 403]),
    ("GET /api/v1/exports/{id}", "1", [403, 403, 200, 403, 403]),
    ("GET /api/v1/exports/{id}", "999", [403, 403, 404, 403, 403]),
    ("GET /api/v1/exports/{id}/download", "1", [403, 403, 404, 403, 403]),
    ("GET /api/v1/exports/{id}/download", "2", [403, 403, 200, 403, 403]),
    ("GET /api/v1/status", "", [200, 403, 200, 403, 403]),
    ("GET /api/v1/days", "", [200, 403, 200, 403, 403]),
    ("GET /api/v1/busiest", "", [403, 403, 200, 403, 403]),
    ("GET /api/v1/gaps", "", [200, 403, 200, 200, 403]),
    ("GET /api/v1/quarantine", "", [200, 403, 200, 200, 403]),
    ("GET /api/v1/quarantine/{id}", "1", [200, 403, 200, 200, 403]),
    ("GET /api/v1/quarantine/{id}", "999", [404, 403, 404, 404, 403]),
    ("GET /api/v1/accounts", "", [403, 403, 403, 403, 200]),
    ("GET /api/v1/groups", "", [403, 403, 403, 403, 200]),
    ("GET /api/v1/groups/{name}", "visitors", [403, 403, 403, 403, 200]),
    ("GET /api/v1/groups/{name}", "none", [403, 403, 403, 403, 404]),
    ("GET /api/v1/audit", "", [403, 403, 403, 200, 403]),
    ("GET /api/v1/openapi.json", "", [200, 200, 200, 200, 200]),
];

/// Forms, sent with nothing in them but the token, and calls that change something; after the last two the session is over.
const FORMS: [Row; 21] = [
    ("POST /exports/new", "", [403, 403, 200, 403, 403]),
    ("POST /exports/{id}", "1", [403, 403, 400, 403, 403]),
    ("POST /exports/{id}", "999", [403, 403, 404, 403, 403]),
    ("POST /gaps/{id}/close", "1", [400, 403, 400, 403, 403]),
    ("POST /quarantine/{id}/retry", "1", [303, 403, 403, 403, 403]),
    ("POST /quarantine/{id}/retry", "999", [404, 403, 403, 403, 403]),
    ("POST /accounts/new", "", [403, 403, 403, 403, 200]),
    ("POST /accounts/one", "", [403, 403, 403, 403, 404]),
    ("POST /accounts/group", "", [403, 403, 403, 403, 200]),
    ("POST /account/zone", "", [400, 400, 400, 400, 400]),
    ("POST /account/password", "", [200, 200, 200, 200, 200]),
    ("POST /account/totp", "", [200, 200, 200, 200, 200]),
    ("POST /account/tokens", "", [200, 200, 200, 200, 200]),
    ("POST /account/tokens/{id}/revoke", "999", [404, 404, 404, 404, 404]),
    ("POST /api/v1/exports", "", [403, 403, 400, 403, 403]),
    ("POST /api/v1/gaps/{id}/close", "1", [400, 403, 400, 403, 403]),
    ("POST /api/v1/gaps/{id}/close", "999?note=x", [404, 403, 404, 403, 403]),
    ("PUT /api/v1/groups/{name}", "visitors", [403, 403, 403, 403, 400]),
    ("DELETE /api/v1/groups/{name}", "none", [403, 403, 403, 403, 404]),
    ("POST /account/sessions", "", [303, 303, 303, 303, 303]),
    ("POST /sign-out", "", [303, 303, 303, 303, 303]),
];

/// What is there for whoever is not signed in, and holds nothing of the archive; the style's path changes with its text.
const OPEN: [(&str, u16); 7] = [
    ("GET /sign-in", 200),
    ("POST /sign-in", 403),
    ("GET /sign-in/provider", 404),
    ("GET /sign-in/provider/return", 404),
    ("GET /icon.svg", 200),
    ("GET /style", 200),
    ("GET /api/v1/openapi.json", 200),
];

/// What takes the place of OUT where it is compared with something that was never there.
const NEVER: [(&str, &str); 3] =
    [("OUT-ROOM", "none@rooms.lindqvist.example"), ("OUT-PAIR", "no@none.example one@none.example"), ("OUT", "999999")];

/// The address of a row.
fn address(row: &Row) -> String {
    let (_, route) = row.0.split_once(' ').expect("a method and a route");
    let (id, query) = row.1.split_once('?').map_or((row.1, String::new()), |(id, query)| (id, format!("?{query}")));
    route.replace("{id}", id).replace("{name}", id) + &query
}

/// Whom the table is gone through for.
struct Reviewer<'s> {
    name: &'static str,
    scope: Scope,
    inside: Vec<&'s Value>,
    outside: Vec<&'s Value>,
    /// What was said by and to others alone, in words that stand nowhere within the scope.
    secrets: Vec<String>,
}

impl<'s> Reviewer<'s> {
    fn of(site: &'s Site, name: &'static str) -> Reviewer<'s> {
        let scope = scopes::scope(name, &site.messages);
        let (inside, outside): (Vec<&Value>, Vec<&Value>) = site.messages.iter().partition(|message| scopes::holds(&scope, message));
        assert!(inside.len() > 2 && outside.len() > 2, "{name}: {} and {}", inside.len(), outside.len());
        let known: String = inside.iter().map(|message| message.to_string()).collect();
        let secrets: Vec<String> = said(&outside).into_iter().filter(|run| !known.contains(run.as_str())).collect();
        assert!(secrets.len() > 2, "{name}: {secrets:?}");
        Reviewer { name, scope, inside, outside, secrets }
    }

    fn rooms(messages: &[&'s Value]) -> BTreeSet<&'s str> {
        messages.iter().filter_map(|message| message["room"].as_str()).collect()
    }

    /// A room of which nothing may be seen.
    fn room_outside(&self) -> &'s str {
        let inside = Self::rooms(&self.inside);
        Self::rooms(&self.outside).into_iter().find(|room| !inside.contains(room)).expect("a room beyond the scope")
    }

    /// The first message of a list that is a plain one, and of a conversation of which nothing is in the other list.
    fn pick(list: &[&'s Value], other: &[&'s Value]) -> &'s Value {
        let apart = |message: &&&Value| other.iter().all(|one| one["conversation"] != message["conversation"]);
        list.iter().filter(|message| message["kind"] == "message").find(apart).expect("such a message")
    }

    /// A path with this reviewer's messages in it; none if it asks for a room and none is within.
    fn filled(&self, path: &str) -> Option<String> {
        let (inside, outside) = (self.inside[0], Self::pick(&self.outside, &self.inside));
        let room = Self::rooms(&self.inside).into_iter().next();
        if path.contains("IN-ROOM") && room.is_none() {
            return None;
        }
        let talk = |message: &Value| encoded(message["conversation"].as_str().expect("a name"));
        let path = path.replace("OUT-ROOM", &encoded(self.room_outside())).replace("IN-ROOM", &encoded(room.unwrap_or_default()));
        let path = path.replace("IN-TALK", &talk(inside)).replace("OUT-TALK", &talk(outside));
        Some(path.replace("OUT", &outside["id"].to_string()).replace("IN", &inside["id"].to_string()))
    }

    /// The same path for what was never there, if it asks for something outside.
    fn never(&self, path: &str) -> Option<String> {
        let outside = Self::pick(&self.outside, &self.inside);
        let path = path.replace("OUT-TALK", if outside["room"].is_string() { "OUT-ROOM" } else { "OUT-PAIR" });
        let never = NEVER.iter().fold(path.clone(), |path, (name, value)| path.replace(name, &encoded(value)));
        if never == path { None } else { self.filled(&never) }
    }

    /// A body with whatever the request named taken out of it.
    fn blank(&self, body: &str) -> String {
        let outside = Self::pick(&self.outside, &self.inside);
        let mut names = vec![self.room_outside().to_owned(), outside["conversation"].as_str().expect("a name").to_owned()];
        names.extend(NEVER.iter().filter(|(name, _)| name.contains('-')).map(|(_, value)| (*value).to_owned()));
        let mut body = body.split("<footer").next().expect("a begin").to_owned();
        for part in names.iter().flat_map(|name| name.split(' ')) {
            body = body.replace(part, "X").replace(&encoded(part), "X");
        }
        for id in [outside["id"].to_string(), "999999".to_owned()] {
            body = body
                .replace(&format!("value=\"{id}\""), "value=\"X\"")
                .replace(&format!("id={id}"), "id=X")
                .replace(&format!(">{id}<"), ">X<");
        }
        let parts: Vec<&str> = body.split("name=\"csrf\" value=\"").collect();
        parts.iter().map(|part| part.split_once("\">").map_or(*part, |(_, rest)| rest)).collect()
    }

    /// That nothing beyond the scope stands in an answer.
    fn sees_nothing_else(&self, path: &str, answer: &Answer) {
        let body = &answer.body;
        for secret in &self.secrets {
            assert!(!body.contains(secret), "{} {path} tells {secret:?}", self.name);
        }
        let (ids, rooms) = (numbers(&self.inside), Self::rooms(&self.inside));
        for room in Self::rooms(&self.outside).difference(&rooms) {
            let asked = path.contains(&encoded(room)) || path.contains(room);
            assert!(asked || !body.contains(room), "{} {path} tells of {room}", self.name);
        }
        for id in told(body) {
            assert!(ids.contains(&id), "{} {path} tells of message {id}", self.name);
        }
    }
}

/// What was said, in the longest runs of plain letters.
fn said(messages: &[&Value]) -> Vec<String> {
    let plain = |text: &str| {
        let runs = text.split(|c: char| !c.is_ascii_alphanumeric() && c != ' ').map(str::trim);
        runs.max_by_key(|run| run.len()).unwrap_or_default().to_owned()
    };
    messages.iter().filter_map(|message| message["body"].as_str()).map(plain).filter(|run| (13..200).contains(&run.len())).collect()
}

fn numbers(messages: &[&Value]) -> BTreeSet<i64> {
    messages.iter().filter_map(|message| message["id"].as_i64()).collect()
}

/// The messages that a page leads to, or that an answer of the API names anywhere in it.
fn told(body: &str) -> BTreeSet<i64> {
    let linked = body.split("href=\"/message/").skip(1).filter_map(|rest| rest.split(['"', '?', '#']).next()?.parse().ok());
    let mut ids: BTreeSet<i64> = linked.collect();
    collect(&serde_json::from_str(body).unwrap_or_default(), &mut ids);
    ids
}

fn collect(value: &Value, ids: &mut BTreeSet<i64>) {
    match value {
        Value::Array(items) => items.iter().for_each(|item| collect(item, ids)),
        Value::Object(parts) => {
            ids.extend(parts.get("id").and_then(Value::as_i64));
            parts.values().for_each(|part| collect(part, ids));
        }
        _ => {}
    }
}

/// An archive with exports in it: one that was withheld, and a released one.
fn site() -> Site {
    let site = Site::new();
    withheld(&site, "The counts do not agree.");
    let token = site.token("officer", NewToken::default());
    export(&site, &token, 2);
    site
}

fn export(site: &Site, token: &str, number: u64) {
    let begun = site.ask("POST", "/api/v1/exports", &format!("Authorization: Bearer {token}\r\n"), "reason=x&q=oak");
    assert_eq!((begun.status, &begun.json()["export"]["id"]), (201, &json!(number)), "{}", begun.body);
    wait_for("an export", || (site.call(&format!("/exports/{number}"), token).json()["export"]["state"] == "released").then_some(()));
}

/// Asks as somebody does with a browser and a token.
fn ask(site: &Site, row: &Row, path: &str, visitor: &Visitor, bearer: &str) -> Answer {
    let (method, route) = row.0.split_once(' ').expect("a method and a route");
    match method {
        _ if route.starts_with("/api/") => site.ask(method, path, &format!("Authorization: Bearer {bearer}\r\n"), ""),
        "POST" => site.post(path, visitor, &[("csrf", &site.get("/account", visitor).csrf())]),
        _ => site.get(path, visitor),
    }
}

#[test]
fn each_role_sees_what_the_table_says() {
    let site = site();
    let reviewer = Reviewer::of(&site, "reviewer");
    let everything = said(&site.messages.iter().collect::<Vec<_>>());
    for (index, role) in Role::ALL.into_iter().enumerate() {
        let (mut visitor, bearer) = (site.sign_in(role.word()), site.token(role.word(), NewToken::default()));
        for row in LOOKS.iter().chain(&FORMS) {
            let path = reviewer.filled(&address(row)).expect("everything is there");
            let answer = ask(&site, row, &path, &visitor, &bearer);
            assert_eq!(answer.status, row.2[index], "{role} {} {path}: {}", row.0, answer.body);
            if ![Role::Reviewer, Role::Officer].contains(&role) {
                assert!(everything.iter().all(|said| !answer.body.contains(said)), "{role} {path}: {}", answer.body);
            }
            if ["POST /account/sessions", "POST /sign-out"].contains(&row.0) {
                visitor = site.sign_in(role.word());
            }
        }
    }
}

/// Whatever the sort of scope: what is within is there, and what is not looks like what never was.
#[test]
fn no_way_of_asking_leads_beyond_a_scope() {
    let site = site();
    for name in REVIEWERS {
        let reviewer = Reviewer::of(&site, name);
        let (visitor, bearer) = (site.sign_in(name), site.token(name, NewToken::default()));
        for row in &LOOKS {
            let Some(path) = reviewer.filled(&address(row)) else { continue };
            let answer = ask(&site, row, &path, &visitor, &bearer);
            assert_eq!(answer.status, row.2[1], "{name} {path}: {}", answer.body);
            reviewer.sees_nothing_else(&path, &answer);
            if let Some(never) = reviewer.never(&address(row)) {
                let other = ask(&site, row, &never, &visitor, &bearer);
                assert_eq!((other.status, reviewer.blank(&other.body)), (answer.status, reviewer.blank(&answer.body)), "{name} {path}");
            }
        }
        for secret in &reviewer.secrets {
            let words = encoded(&format!("\"{secret}\""));
            let found = site.get(&format!("/search?q={words}"), &visitor);
            assert!(found.body.contains("Nothing found"), "{name} {secret}: {}", found.body);
            assert_eq!(site.call(&format!("/messages?q={words}"), &bearer).json()["messages"], json!([]), "{name} {secret}");
        }
        let all = site.call("/messages?limit=500", &bearer).body;
        assert_eq!(told(&all), numbers(&reviewer.inside), "{name} sees all that is within");
        let counted = site.get("/search?go=1", &visitor).body;
        assert!(counted.contains(&format!("{} messages</h2>", reviewer.inside.len())), "{name}: the count is within the scope as well");
        let rooms = site.call("/rooms", &bearer).json();
        let rooms: BTreeSet<&str> = rooms["rooms"].as_array().expect("rooms").iter().filter_map(|room| room["jid"].as_str()).collect();
        assert_eq!(rooms, Reviewer::rooms(&reviewer.inside), "{name}");
        for room in &rooms {
            let stays = site.call(&format!("/stays?room={}", encoded(room)), &bearer).json();
            let all_of_it = reviewer.scope.rooms.contains(*room);
            for stay in stays["stays"].as_array().expect("stays") {
                let is_one = stay["jid"].as_str().is_some_and(|jid| scopes::has_person(&reviewer.scope, jid));
                assert!(all_of_it || is_one, "{name} {room}: {stay}");
            }
        }
    }
}

/// Exports of others exist, and are as if they did not for whoever may see less than they hold.
#[test]
fn exports_beyond_a_scope_are_as_if_they_were_not_there() {
    let site = site();
    let of_room = |room: &str| {
        let scope = Scope { rooms: [format!("{room}@rooms.lindqvist.example")].into(), ..Scope::default() };
        site.token("officer", NewToken { scope: Some(scope), ..NewToken::default() })
    };
    let (workshop, salon) = (of_room("workshop"), of_room("salon"));
    export(&site, &workshop, 3);
    for (token, sees) in [(&workshop, vec![3]), (&salon, vec![])] {
        for number in [1, 2, 3] {
            for path in [format!("/exports/{number}"), format!("/exports/{number}/download")] {
                let (answer, never) = (site.call(&path, token), site.call(&path.replace(&number.to_string(), "999"), token));
                match sees.contains(&number) {
                    true => assert_eq!(answer.status, 200, "{path}"),
                    false => assert_eq!((answer.status, &answer.body), (404, &never.body), "{path}"),
                }
            }
        }
        let listed = site.call("/exports", token).json();
        let listed: Vec<u64> = listed["exports"].as_array().expect("exports").iter().filter_map(|export| export["id"].as_u64()).collect();
        assert_eq!(listed, sees);
    }
}

#[test]
fn whoever_is_not_signed_in_sees_nothing() {
    let site = Site::new();
    let stranger = Visitor::default();
    let mut forged = Visitor::default();
    forged.cookies.insert("session".to_owned(), "x".repeat(43));
    for row in LOOKS.iter().chain(&FORMS).filter(|row| row.0 != "GET /api/v1/openapi.json") {
        let (method, path) = (row.0.split(' ').next().expect("a method"), address(row));
        if path.starts_with("/api/") {
            for header in ["", "Authorization: Bearer xa_none\r\n", "Authorization: Basic eDp5\r\n", "Cookie: session=x\r\n"] {
                let answer = site.ask(method, &path, header, "");
                assert_eq!((answer.status, answer.header("www-authenticate")), (401, "Bearer"), "{path}");
            }
            continue;
        }
        for visitor in [&stranger, &forged] {
            let answer = if method == "POST" { site.post(&path, visitor, &[]) } else { site.get(&path, visitor) };
            let expected =
                answer.header("location") == "/sign-in" || (method == "GET" && answer.header("location").starts_with("/sign-in?next="));
            assert_eq!((answer.status, expected, answer.body.as_str()), (303, true, ""), "{path}");
        }
    }
    let style = site
        .get("/sign-in", &stranger)
        .body
        .split("href=\"")
        .find_map(|rest| rest.split('"').next().filter(|href| href.starts_with("/style")).map(str::to_owned));
    for (route, status) in OPEN {
        let (method, path) = route.split_once(' ').expect("a method and a route");
        let path = if path == "/style" { style.as_deref().expect("a style") } else { path };
        let answer = if method == "POST" { site.post(path, &stranger, &[]) } else { site.get(path, &stranger) };
        assert_eq!(answer.status, status, "{route}");
        assert!(
            site.messages
                .iter()
                .filter_map(|message| message["body"].as_str())
                .filter(|body| body.len() > 20)
                .all(|body| !answer.body.contains(body))
        );
    }
}

/// The router's own list is what the tables are held against: each method of each address has a row, and no row is of something else.
#[test]
fn every_route_has_a_row() {
    let served: BTreeSet<String> = xmpp_archiver::web::routes()
        .into_iter()
        .map(|(method, path)| if path.starts_with("/style-") { "GET /style".to_owned() } else { format!("{method} {path}") })
        .collect();
    let rows = LOOKS.iter().chain(&FORMS).map(|row| row.0).chain(OPEN.iter().map(|(route, _)| *route));
    assert_eq!(served, rows.map(str::to_owned).collect());
    for row in LOOKS.iter().chain(&FORMS) {
        let is_form = !row.0.starts_with("GET ");
        assert_eq!(FORMS.iter().any(|form| form.0 == row.0), is_form, "{} is in the wrong table", row.0);
        // What reviewers read of a message, a conversation or a room has a row within the scope and one beyond it.
        let reads = LOOKS.iter().filter(|other| other.0 == row.0).map(|other| other.1).collect::<Vec<_>>();
        if reads.iter().any(|path| path.contains("IN")) {
            assert!(reads.iter().any(|path| path.contains("OUT")), "{} is asked for nothing beyond the scope", row.0);
        }
        if row.2[1] == 200 && row.2[0] == 403 && !row.0.ends_with("rooms") {
            assert!(reads.iter().any(|path| path.contains("IN")), "{} is asked for nothing within the scope", row.0);
        }
    }
}
