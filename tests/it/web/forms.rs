//! Forms: forged ones change nothing, sessions end, headers stand on every answer, limits hold.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::Arc;

use xmpp_archiver::access::{Action, AuditFilter, Viewer};

use super::site::{PASSWORD, Site, Visitor};
use crate::support::archiver::{Archiver, StoreKind};
use crate::support::played::Played;
use crate::support::process::{Directory, free_port, wait_for};
use crate::support::tls::Authority;

/// Every form that the router takes of somebody who is signed in. The one of the sign-in has a token of its own, and a test of its own.
fn forms() -> Vec<String> {
    let posts = xmpp_archiver::web::routes().into_iter().filter(|(method, path)| *method != "GET" && !path.starts_with("/api/"));
    posts.map(|(_, path)| path.replace("{id}", "1")).filter(|path| path != "/sign-in").collect()
}

fn trail(site: &Site) -> Vec<String> {
    let filter = AuditFilter { limit: 1_000, ..AuditFilter::default() };
    let rows = site.runtime.block_on(site.access.audit(&Viewer::console("tester"), &filter)).expect("the audit trail");
    rows.into_iter().map(|row| row.action).filter(|action| action != "view-audit").collect()
}

#[test]
fn a_form_without_the_sessions_own_token_changes_nothing() {
    let site = Site::new();
    let (officer, operator) = (site.sign_in("officer"), site.sign_in("operator"));
    let of_another = site.get("/account", &operator).csrf();
    for role in ["administrator", "officer", "operator"] {
        let visitor = if role == "officer" { officer.clone() } else { site.sign_in(role) };
        let own = site.get("/account", &visitor).csrf();
        let before = trail(&site);
        for path in forms() {
            for fields in [vec![], vec![("csrf", "")], vec![("csrf", "AAAA")], vec![("csrf", of_another.as_str())]] {
                let answer = site.post(&path, &visitor, &fields);
                assert_eq!(answer.status, 403, "{role} {path} {fields:?}");
                assert!(answer.body.contains("not valid any more"), "{role} {path}");
            }
            let headers = |more: &str| format!("Cookie: session={}\r\n{more}\r\n", visitor.cookies["session"]);
            for origin in ["Origin: https://evil.example", "Origin: null", "Sec-Fetch-Site: cross-site"] {
                let answer = site.ask("POST", &path, &headers(origin), &format!("csrf={own}"));
                assert_eq!(answer.status, 403, "{role} {path} {origin}");
            }
        }
        assert_eq!(trail(&site), before, "{role}: nothing was done, and nothing is told of");
        assert_eq!(site.get("/account", &visitor).status, 200, "the session goes on");
    }
    assert!(forms().len() > 13, "{:?}", forms());
    let own = site.get("/account", &officer).csrf();
    let answer = site.post("/account/zone", &officer, &[("csrf", &own), ("zone", "Europe/Berlin")]);
    assert_eq!((answer.status, answer.cookie("zone")), (303, Some("Europe/Berlin")));
}

/// No page elsewhere can make a browser ask the API: it knows no cookies, whatever the method.
#[test]
fn the_api_takes_no_session() {
    let site = Site::new();
    let officer = site.sign_in("officer");
    let headers = format!("Cookie: session={}\r\nOrigin: http://{}\r\n", officer.cookies["session"], site.address);
    let csrf = site.get("/account", &officer).csrf();
    let calls = xmpp_archiver::web::routes().into_iter().filter(|(_, path)| path.starts_with("/api/") && !path.ends_with("/openapi.json"));
    for (method, path) in calls {
        let answer = site.ask(method, &path.replace("{id}", "1").replace("{name}", "1"), &headers, &format!("csrf={csrf}&reason=x"));
        assert_eq!(answer.status, 401, "{method} {path}");
    }
}

#[test]
fn whoever_guesses_is_told_when_to_come_back() {
    let site = Site::new();
    let page = site.get("/sign-in", &Visitor::default());
    let mut visitor = Visitor::default();
    visitor.keep(&page, "form");
    let token = page.csrf();
    let guess = || site.post("/sign-in", &visitor, &[("csrf", &token), ("name", "nobody"), ("password", "wrong")]);
    let refused = (0..30).map(|_| guess()).find(|answer| answer.status != 403).expect("it ends");
    let seconds: u64 = refused.header("retry-after").parse().expect("a number of seconds");
    assert_eq!(refused.status, 429);
    assert!((1..=30).contains(&seconds) && refused.body.contains(&format!("in {seconds} s")), "{seconds}: {}", refused.body);
}

#[test]
fn signing_in_wants_its_own_token_and_tells_nobody_why_it_failed() {
    let site = Site::new();
    let page = site.get("/sign-in", &Visitor::default());
    let mut visitor = Visitor::default();
    let token = page.csrf();
    let right = [("name", "officer"), ("password", PASSWORD)];
    let with = |token: &'static str| [("csrf", token), right[0], right[1]];
    assert_eq!(site.post("/sign-in", &visitor, &with("x")).status, 403, "no cookie");
    visitor.keep(&page, "form");
    assert_eq!(site.post("/sign-in", &visitor, &with("x")).status, 403, "another token");
    assert!(site.post("/sign-in", &visitor, &with("x")).cookie("session").is_none());
    let mut told = Vec::new();
    for (name, password) in [("officer", "wrong"), ("nobody", PASSWORD), ("", "")] {
        let answer = site.post("/sign-in", &visitor, &[("csrf", &token), ("name", name), ("password", password)]);
        assert_eq!((answer.status, answer.cookie("session")), (403, None), "{name}");
        told.push(answer.body.split("role=\"alert\">").nth(1).and_then(|rest| rest.split('<').next()).expect("a sentence").to_owned());
    }
    assert!(told.iter().all(|sentence| *sentence == told[0]), "{told:?}");
    let answer = site.post("/sign-in", &visitor, &[("csrf", &token), right[0], right[1], ("next", "//evil.example")]);
    assert_eq!((answer.status, answer.header("location")), (303, "/overview"));
    let cookie = answer.headers.iter().find(|(name, value)| name == "set-cookie" && value.starts_with("session=")).expect("a cookie");
    for part in ["HttpOnly", "SameSite=Lax", "Path=/"] {
        assert!(cookie.1.contains(part), "{cookie:?}");
    }
}

#[test]
fn a_session_ends() {
    let site = Site::new();
    let officer = site.sign_in("officer");
    let token = site.get("/account", &officer).csrf();
    let answer = site.post("/sign-out", &officer, &[("csrf", &token)]);
    assert_eq!((answer.status, answer.cookie("session")), (303, Some("")));
    assert_eq!(site.get("/search", &officer).header("location"), "/sign-in?next=%2Fsearch");
    let officer = site.sign_in("officer");
    let console = Viewer::console("tester");
    site.runtime.block_on(site.access.end_sessions(&console, "officer")).expect("they end");
    assert_eq!(site.get("/search", &officer).status, 303);
}

#[test]
fn every_answer_has_the_headers() {
    let site = Site::new();
    let officer = site.sign_in("officer");
    for (method, path) in [
        ("GET", "/sign-in"),
        ("GET", "/search?q=oak"),
        ("GET", "/none"),
        ("GET", "/audit"),
        ("GET", "/icon.svg"),
        ("GET", "/api/v1/none"),
        ("GET", "/api/v1/me"),
        ("DELETE", "/search"),
        ("POST", "/sign-out"),
        ("GET", "/"),
        ("GET", "/message/%ff"),
    ] {
        let headers = format!("Cookie: session={}\r\n", officer.cookies["session"]);
        let answer = site.ask(method, path, &headers, "");
        let policy = answer.header("content-security-policy");
        for part in ["default-src 'none'", "style-src 'self'", "form-action 'self'", "frame-ancestors 'none'", "base-uri 'none'"] {
            assert!(policy.contains(part), "{method} {path}: {policy}");
        }
        assert!(!policy.contains("unsafe") && !policy.contains("script-src"), "{policy}");
        for (name, value) in [
            ("x-content-type-options", "nosniff"),
            ("x-frame-options", "DENY"),
            ("referrer-policy", "same-origin"),
            ("cross-origin-opener-policy", "same-origin"),
            ("cross-origin-resource-policy", "same-origin"),
        ] {
            assert_eq!(answer.header(name), value, "{method} {path}");
        }
        if path != "/icon.svg" {
            assert_eq!(answer.header("cache-control"), "no-store", "{method} {path}");
        }
    }
}

#[test]
fn what_is_too_large_is_refused() {
    let site = Site::new();
    let officer = site.sign_in("officer");
    let token = site.get("/account", &officer).csrf();
    let answer = site.post("/account/zone", &officer, &[("csrf", &token), ("zone", &"x".repeat(262_200))]);
    assert_eq!(answer.status, 413);
    let answer = site.get(&format!("/search?q={}", "x".repeat(100_000)), &officer);
    assert!(answer.status >= 400 && answer.status < 500, "{}", answer.status);
    let answer = site.get(&format!("/search?q={}", "x".repeat(5_000)), &officer);
    assert!(answer.status == 400 && answer.body.contains("is longer than"), "{}", answer.body);
}

#[test]
fn an_administrator_sees_to_accounts() {
    let site = Site::new();
    let administrator = site.sign_in("administrator");
    let token = site.get("/accounts/new", &administrator).csrf();
    let fields = |name: &'static str, role: &'static str| {
        [("csrf", token.as_str()), ("name", name), ("password", PASSWORD), ("role", role), ("who", "*.example.org\nben@lindqvist.example")]
    };
    let answer = site.post("/accounts/new", &administrator, &fields("kim", "reviewer"));
    assert_eq!((answer.status, answer.header("location")), (303, "/accounts/one?name=kim&done=added"), "{}", answer.body);
    let page = site.get("/accounts/one?name=kim", &administrator);
    assert!(page.body.contains("*.example.org\nben@lindqvist.example"), "{}", page.body);
    let again = site.post("/accounts/new", &administrator, &fields("kim", "reviewer"));
    assert!(again.status == 200 && again.body.contains("role=\"alert\""), "{}", again.body);
    let kim = site.sign_in("kim");
    for path in ["/search", "/", "/account"] {
        assert_eq!(site.get(path, &kim).header("location"), "/account/password", "somebody else chose the password");
    }
    let change = [("csrf", token.as_str()), ("name", "kim"), ("change", "disable")];
    assert_eq!(site.post("/accounts/one", &administrator, &change).status, 303);
    assert_eq!(site.get("/account/password", &kim).status, 303);
    let group = [("csrf", token.as_str()), ("name", "Sales"), ("members", "ann@example.org, example.net"), ("is_new", "1")];
    assert_eq!(site.post("/accounts/group", &administrator, &group).header("location"), "/accounts/group?name=sales&done=group");
    assert!(site.get("/accounts/group?name=sales", &administrator).body.contains("ann@example.org\nexample.net"));
}

/// The command of its own, as an operator starts it.
#[test]
fn the_command_serves_until_it_is_stopped() {
    let site = Site::new();
    let port = free_port();
    let archiver = &site.archiver;
    archiver.set_settings(&archiver.settings().replace("listen = '127.0.0.1:0'", &format!("listen = '127.0.0.1:{port}'")));
    let mut process = archiver.begin(&["web"]);
    let served = wait_for("the console", || {
        assert!(process.is_running(), "it ended");
        TcpStream::connect(("127.0.0.1", port)).ok()
    });
    drop(served);
    assert!(process.stop("TERM").success());
}

#[test]
fn a_gap_is_closed_with_a_reason_that_is_kept() {
    let site = Site::new();
    let operator = site.sign_in("operator");
    let page = site.get("/gaps", &operator);
    assert!(page.body.contains("Close it by hand"), "{}", page.body);
    let token = page.csrf();
    let close =
        |id: &str, note: &str| site.post(&format!("/gaps/{id}/close"), &operator, &[("csrf", &token), ("store", "main"), ("note", note)]);
    assert_eq!(close("1", " ").status, 400);
    assert_eq!(close("2", "why not").status, 404);
    assert_eq!(close("1", "the backup <b>has</b> it").header("location"), "/gaps?done=gap");
    assert_eq!(close("1", "once more").status, 400, "who closed it first, and why, stays");
    let closed = site.get("/gaps?state=all", &operator).body;
    assert!(
        closed.contains("by <bdi>operator</bdi>") && closed.contains("the backup &#60;b&#62;has") && !closed.contains("Close it by hand")
    );
    let filter = AuditFilter { actions: vec![Action::CloseGap], ..AuditFilter::default() };
    let rows = site.runtime.block_on(site.access.audit(&Viewer::console("tester"), &filter)).expect("the audit trail");
    assert_eq!(rows.iter().filter_map(|row| row.reason.as_deref()).collect::<Vec<_>>(), ["the backup <b>has</b> it"]);
}

/// An archiver whose `run` serves the console as well, with TLS of its own.
#[test]
fn run_serves_the_console_too_and_speaks_tls() {
    let directory = Directory::new(None);
    let authority = Authority::new(&directory);
    authority.issue(&directory, "web");
    let mut node = Played::new("node", "archive.h", "h", "m.h", "ejabberd");
    let mut archiver = Archiver::for_played(StoreKind::Sqlite, "", &[&node]);
    let port = free_port();
    let file = |name: &str| directory.path().join(name).display().to_string();
    let key_file = archiver.spool().with_file_name("access.key");
    let web = format!(
        "\n[web]\nwith_run = true\nlisten = '127.0.0.1:{port}'\ntls_cert = '{}'\ntls_key = '{}'\nkey_file = '{}'\n",
        file("web.crt"),
        file("web.key"),
        key_file.display()
    );
    archiver.set_settings(&format!("{}{web}", archiver.settings()));
    archiver.must(&["migrate", "up"]);
    archiver.start();
    node.accept();
    let socket = wait_for("the console", || TcpStream::connect(("127.0.0.1", port)).ok());
    let config = Arc::new(xmpp_archiver::tls::client("test", Some(authority.certificate())).expect("a configuration"));
    let connection = rustls::ClientConnection::new(config, "localhost".try_into().expect("a name")).expect("a connection");
    let mut stream = rustls::StreamOwned::new(connection, socket);
    stream.write_all(b"GET /sign-in HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n").expect("it takes requests");
    let mut answer = Vec::new();
    let _no_close_notify = stream.read_to_end(&mut answer);
    let answer = String::from_utf8(answer).expect("text");
    for part in ["200 OK", "strict-transport-security: max-age=31536000", "set-cookie: __Host-form=", "; Secure"] {
        assert!(answer.contains(part), "{part}: {answer}");
    }
    archiver.stop();
}
