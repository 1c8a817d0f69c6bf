//! The second factor and tokens in the console: whoever finds a screen unlocked can't keep the account by them.

use totp_rs::{Builder, Secret};
use xmpp_archiver::access::{AuditFilter, Viewer};
use xmpp_archiver::time::{SECOND, now};

use super::site::{Answer, PASSWORD, Site, Visitor};

/// The code of so many seconds from now.
pub(super) fn code(secret: &str, later: i64) -> String {
    let key = Secret::try_from_base32(secret).expect("base32");
    let generator = Builder::new().with_secret(key).build().expect("a generator");
    generator.generate((now() / SECOND + later) as u64).to_string()
}

/// What a page shows this once.
fn secrets(answer: &Answer) -> Vec<String> {
    answer.body.split("<code class=\"secret\">").skip(1).map(|rest| rest.split('<').next().expect("a secret").to_owned()).collect()
}

/// Up to where a code is asked for.
fn with_password(site: &Site, visitor: &mut Visitor) -> Answer {
    let page = site.get("/sign-in", &Visitor::default());
    visitor.keep(&page, "form");
    let asked = site.post("/sign-in", visitor, &[("csrf", &page.csrf()), ("name", "officer"), ("password", PASSWORD), ("next", "/rooms")]);
    assert_eq!((asked.status, asked.cookie("session")), (200, None), "the password alone opens nothing: {}", asked.body);
    visitor.keep(&asked, "form");
    asked
}

fn with_code(site: &Site, visitor: &Visitor, asked: &Answer, code: &str) -> Answer {
    let (csrf, pending) = (asked.csrf(), asked.field("pending"));
    site.post("/sign-in", visitor, &[("csrf", &csrf), ("pending", &pending), ("code", code), ("next", "/rooms")])
}

fn outcomes(site: &Site, action: &str) -> Vec<(String, &'static str)> {
    let filter = AuditFilter { limit: 1_000, oldest_first: true, ..AuditFilter::default() };
    let rows = site.runtime.block_on(site.access.audit(&Viewer::console("tester"), &filter)).expect("the audit trail");
    let of_action = rows.into_iter().filter(|row| row.action == action);
    of_action.map(|row| (row.actor, row.outcome.expect("an outcome").word())).collect()
}

#[test]
fn a_second_factor_is_set_up_with_the_password_and_asked_for_from_then_on() {
    let site = Site::new();
    let officer = site.sign_in("officer");
    let csrf = site.get("/account", &officer).csrf();
    let set = |fields: &[(&str, &str)]| site.post("/account/totp", &officer, &[&[("csrf", csrf.as_str())], fields].concat());
    let asked = set(&[]);
    assert!(asked.status == 200 && asked.body.contains("name=\"password\"") && secrets(&asked).is_empty(), "{}", asked.body);
    let wrong = set(&[("password", "horse staple cabel")]);
    assert!(wrong.body.contains("role=\"alert\"") && secrets(&wrong).is_empty(), "{}", wrong.body);
    let offered = set(&[("password", PASSWORD)]);
    let (secret, sealed) = (secrets(&offered)[0].clone(), offered.field("sealed"));
    assert!(offered.body.contains("otpauth://totp/") && offered.body.contains("<svg class=\"code\""), "{}", offered.body);
    let mistyped = set(&[("sealed", &sealed), ("code", "no code")]);
    assert_eq!((mistyped.body.contains("role=\"alert\""), secrets(&mistyped)[0].as_str()), (true, secret.as_str()), "the same offer again");
    assert!(
        site.post("/account/totp", &site.sign_in("auditor"), &[("csrf", &csrf), ("sealed", &sealed), ("code", &code(&secret, 0))]).status
            == 403
    );
    let accepted = set(&[("sealed", &sealed), ("code", &code(&secret, 0))]);
    let recovery = secrets(&accepted);
    assert_eq!(recovery.len(), 10, "{}", accepted.body);
    assert!(site.get("/account", &officer).body.contains("A code of your device is asked for"));

    let mut visitor = Visitor::default();
    let asked = with_password(&site, &mut visitor);
    assert_eq!(with_code(&site, &visitor, &asked, "000000").status, 403);
    let entered = with_code(&site, &visitor, &asked, &code(&secret, 30));
    assert_eq!((entered.status, entered.header("location")), (303, "/rooms"), "{}", entered.body);
    visitor.keep(&entered, "session");
    assert_eq!(site.get("/rooms", &visitor).status, 200);

    let mut lost = Visitor::default();
    let asked = with_password(&site, &mut lost);
    assert_eq!(with_code(&site, &lost, &asked, &recovery[3]).status, 303);
    let asked = with_password(&site, &mut lost);
    assert_eq!(with_code(&site, &lost, &asked, &recovery[3]).status, 403, "each is good once");
    let told = outcomes(&site, "account-totp");
    assert_eq!(told, [("officer".to_owned(), "failed"), ("officer".to_owned(), "done")]);
}

#[test]
fn a_token_is_made_with_the_password() {
    let site = Site::new();
    let officer = site.sign_in("officer");
    let csrf = site.get("/account", &officer).csrf();
    let made = |password: &str| site.post("/account/tokens", &officer, &[("csrf", &csrf), ("name", "backup"), ("password", password)]);
    for password in ["", "horse staple cabel"] {
        let refused = made(password);
        assert!(refused.body.contains("role=\"alert\"") && secrets(&refused).is_empty(), "{}", refused.body);
        assert!(refused.body.contains("value=\"backup\""), "what was filled in stays");
    }
    assert!(!site.get("/account", &officer).body.contains("/account/tokens/1/revoke"));
    let token = secrets(&made(PASSWORD)).pop().expect("a token");
    assert_eq!(site.call("/me", &token).status, 200);
    let told: Vec<&str> = outcomes(&site, "token-add").into_iter().map(|(_, outcome)| outcome).collect();
    assert_eq!(told, ["failed", "failed", "done"]);
}
