//! The API and its description agree: every route, every answer.

use std::collections::BTreeSet;

use serde_json::Value;
use xmpp_archiver::access::{NewToken, Role, Roles, Scope};

use super::site::{Site, encoded};

/// Why a value is not what a schema says; the part of JSON Schema that the description uses.
fn mismatch(root: &Value, schema: &Value, value: &Value, at: &str) -> Option<String> {
    if let Some(reference) = schema["$ref"].as_str() {
        let target = root.pointer(reference.trim_start_matches('#')).unwrap_or_else(|| panic!("{reference} leads nowhere"));
        return mismatch(root, target, value, at);
    }
    if let Some(options) = schema["anyOf"].as_array() {
        let fits = options.iter().any(|option| mismatch(root, option, value, at).is_none());
        return (!fits).then(|| format!("{at}: {value} fits none"));
    }
    let found = match value {
        Value::Null => "null",
        Value::Bool(_) => "boolean",
        Value::Number(number) if number.is_f64() => "number",
        Value::Number(_) => "integer",
        Value::String(_) => "string",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
    };
    let allowed = match &schema["type"] {
        Value::Null => return None,
        Value::Array(types) => types.iter().any(|one| one == found),
        one => one == found,
    };
    if !allowed {
        return Some(format!("{at}: {value} is no {}", schema["type"]));
    }
    if schema["enum"].as_array().is_some_and(|values| !values.contains(value)) {
        return Some(format!("{at}: {value} is none of {}", schema["enum"]));
    }
    match value {
        Value::Array(items) => {
            items.iter().enumerate().find_map(|(index, item)| mismatch(root, &schema["items"], item, &format!("{at}[{index}]")))
        }
        Value::Object(parts) => {
            let missing =
                schema["required"].as_array().into_iter().flatten().filter_map(Value::as_str).find(|name| !parts.contains_key(*name));
            if let Some(missing) = missing {
                return Some(format!("{at} lacks {missing}"));
            }
            parts.iter().find_map(|(name, part)| match schema["properties"].get(name) {
                Some(schema) => mismatch(root, schema, part, &format!("{at}.{name}")),
                None => (schema["additionalProperties"] == false).then(|| format!("{at} has {name}, which is not described")),
            })
        }
        _ => None,
    }
}

pub(super) fn check(description: &Value, (method, route): (&str, &str), status: u16, body: &Value) {
    let schema =
        &description["paths"][route][method.to_lowercase()]["responses"][status.to_string()]["content"]["application/json"]["schema"];
    assert!(schema.is_object(), "{method} {route} {status} is not described");
    if let Some(wrong) = mismatch(description, schema, body, "answer") {
        panic!("{method} {route} {status}: {wrong}");
    }
}

#[test]
fn every_answer_is_as_described() {
    let site = Site::new();
    let description = site.ask("GET", "/api/v1/openapi.json", "", "").json();
    assert_eq!(description["openapi"], "3.1.0");
    let routes = xmpp_archiver::web::routes();
    let calls = routes.iter().filter_map(|(method, path)| Some((method.to_lowercase(), path.strip_prefix("/api/v1")?)));
    let paths = description["paths"].as_object().expect("paths").iter();
    let described =
        paths.flat_map(|(path, methods)| methods.as_object().expect("methods").keys().map(|method| (method.clone(), path.as_str())));
    assert_eq!(calls.collect::<BTreeSet<_>>(), described.collect(), "what is served is what is described");
    let inside = site.message(true, false)["id"].to_string();
    let in_room = site.message(true, true)["id"].to_string();
    let room = encoded("workshop@rooms.lindqvist.example");
    let bearers = Role::ALL.map(|role| site.token(role.word(), NewToken::default()));
    for (route, path) in [
        ("/me", "/me".to_owned()),
        ("/messages", "/messages?limit=500".to_owned()),
        ("/messages", "/messages?q=oak&order=best&has=link&kind=message&direction=internal".to_owned()),
        ("/messages", "/messages?limit=9&count=true&context=2&zone=Europe%2FBerlin&from=2026-01-01".to_owned()),
        ("/messages", "/messages?order=up".to_owned()),
        ("/messages/{id}", format!("/messages/{in_room}")),
        ("/messages/{id}", format!("/messages/{inside}?xml=true")),
        ("/messages/{id}", "/messages/0".to_owned()),
        ("/rooms", "/rooms".to_owned()),
        ("/stays", format!("/stays?room={room}")),
        ("/stays", format!("/stays?room={room}&after=1:1")),
        ("/stays", format!("/stays?room={room}&after=once")),
        ("/stays", "/stays".to_owned()),
        ("/exports", "/exports".to_owned()),
        ("/exports/{id}", "/exports/999".to_owned()),
        ("/exports/{id}/download", "/exports/999/download".to_owned()),
        ("/status", "/status".to_owned()),
        ("/days", "/days".to_owned()),
        ("/days", "/days?to=x".to_owned()),
        ("/busiest", "/busiest".to_owned()),
        ("/busiest", "/busiest?room=x".to_owned()),
        ("/gaps", "/gaps?state=open".to_owned()),
        ("/gaps", "/gaps?after=x".to_owned()),
        ("/quarantine", "/quarantine".to_owned()),
        ("/quarantine/{id}", "/quarantine/1".to_owned()),
        ("/quarantine/{id}", "/quarantine/1?xml=true".to_owned()),
        ("/quarantine/{id}", "/quarantine/x".to_owned()),
        ("/accounts", "/accounts".to_owned()),
        ("/groups", "/groups".to_owned()),
        ("/groups", "/groups?name=visitors".to_owned()),
        ("/groups/{name}", "/groups/visitors".to_owned()),
        ("/groups/{name}", "/groups/none".to_owned()),
        ("/audit", "/audit?order=oldest".to_owned()),
        ("/audit", "/audit?action=none".to_owned()),
    ] {
        for bearer in &bearers {
            let answer = site.call(&path, bearer);
            assert_eq!(answer.header("content-type"), "application/json", "{path}");
            check(&description, ("GET", route), answer.status, &answer.json());
        }
        let answer = site.call(&path, "none");
        check(&description, ("GET", route), answer.status, &answer.json());
    }
    let one = site.call(&format!("/messages/{inside}?xml=true"), &bearers[2]).json();
    assert!(one["message"]["xml"].as_str().is_some_and(|xml| xml.contains("<body>")), "{one}");
    assert!(site.call("/messages?limit=500", &bearers[2]).json()["messages"].as_array().is_some_and(|messages| messages.len() > 20));
}

/// What begins an export takes what is described, in either place, and nothing else.
#[test]
fn an_export_is_asked_for_as_described() {
    let site = Site::new();
    let description = site.ask("GET", "/api/v1/openapi.json", "", "").json();
    let post = &description["paths"]["/exports"]["post"];
    let form = &post["requestBody"]["content"]["application/x-www-form-urlencoded"]["schema"];
    assert_eq!(form["additionalProperties"], false);
    let mut in_address: Vec<&str> = post["parameters"].as_array().expect("a list").iter().filter_map(|one| one["name"].as_str()).collect();
    let mut in_form: Vec<&str> = form["properties"].as_object().expect("fields").keys().map(String::as_str).collect();
    in_address.sort_unstable();
    in_form.sort_unstable();
    assert_eq!(in_address, in_form);
    let bearer = format!("Authorization: Bearer {}\r\n", site.token("officer", NewToken::default()));
    let empty: String = in_form.iter().map(|name| format!("{name}=&")).collect();
    for (path, body) in
        [("/api/v1/exports".to_owned(), format!("{empty}reason=x&id=0")), (format!("/api/v1/exports?{empty}reason=x&id=0"), String::new())]
    {
        let begun = site.ask("POST", &path, &bearer, &body);
        let schema = &post["responses"][begun.status.to_string()]["content"]["application/json"]["schema"];
        assert_eq!((begun.status, mismatch(&description, schema, &begun.json(), "answer")), (201, None), "{}", begun.body);
    }
    let refused = site.ask("POST", "/api/v1/exports", &bearer, "reason=x&order=oldest&after=1:2");
    assert_eq!(refused.status, 400);
    assert!(["order", "after"].iter().all(|name| refused.body.contains(&format!("“{name}”"))), "{}", refused.body);
}

#[test]
fn a_token_does_no_more_than_it_was_given() {
    let site = Site::new();
    let outside = site.message(false, false)["id"].to_string();
    let scope = Scope { rooms: ["workshop@rooms.lindqvist.example".to_owned()].into(), ..Scope::default() };
    let narrow = site.token("officer", NewToken { scope: Some(scope), ..NewToken::default() });
    assert_eq!(site.call(&format!("/messages/{outside}"), &narrow).status, 404);
    let found = site.call("/messages?limit=500", &narrow).json();
    let found = found["messages"].as_array().expect("messages");
    assert!(found.len() > 5 && found.iter().all(|message| message["room"] == "workshop@rooms.lindqvist.example"), "{}", found.len());
    let reviewer = site.token("officer", NewToken { roles: Roles::of([Role::Officer]), ..NewToken::default() });
    assert_eq!(site.call("/me", &reviewer).json()["roles"], serde_json::json!(["officer"]));
    assert_eq!(site.ask("GET", "/search", &format!("Authorization: Bearer {reviewer}\r\n"), "").status, 303, "pages know no tokens");
}
