//! What holds on each database.

use std::collections::BTreeSet;

use secrecy::{ExposeSecret, SecretString};
use serde_json::json;
use totp_rs::{Builder, Secret};

use xmpp_archiver::access::{
    Access, AccessError, AccountChange, Action, AuditFilter, Event, NewAccount, NewToken, Outcome, Permission, Reach, Role, Roles, Scope,
    SignIn, SignInError, Viewer,
};
use xmpp_archiver::alarm::Name;
use xmpp_archiver::store::Backend;
use xmpp_archiver::time::SECOND;

use super::stage::{PASSWORD, Stage, address, attempt, on_each};

fn set(entries: &[&str]) -> BTreeSet<String> {
    entries.iter().map(|entry| (*entry).to_owned()).collect()
}

fn secret(text: &str) -> SecretString {
    text.to_owned().into()
}

#[test]
fn accounts_are_made_and_changed_with_a_row_each() {
    on_each(async |stage| {
        stage.account("Ann", &[Role::Administrator, Role::Operator]).await;
        let account = stage.access.account(&stage.console, " ANN ").await.unwrap();
        assert_eq!((account.id, account.name.as_str(), account.has_password), (1, "ann", true));
        let wrong = NewAccount {
            name: "a b".to_owned(),
            roles: Roles::of([Role::Administrator, Role::Officer]),
            password: Some(secret("short")),
            ..NewAccount::default()
        };
        let told = stage.access.add_account(&stage.console, wrong, None).await.unwrap_err().to_string();
        assert!(told.contains("a name has") && told.contains("two people") && told.contains("at least 12"), "{told}");
        let twice = NewAccount { name: "ann".to_owned(), password: Some(secret(PASSWORD)), ..NewAccount::default() };
        assert!(matches!(stage.access.add_account(&stage.console, twice, None).await, Err(AccessError::Invalid(_))));
        let why = Some("moved on".to_owned());
        stage.access.change_account(&stage.console, "ann", AccountChange::Roles(Roles::of([Role::Auditor])), why).await.unwrap();
        let row = stage.audit().await.pop().unwrap();
        assert_eq!((row.action.as_str(), row.reason.as_deref(), row.actor.as_str()), ("account-roles", Some("moved on"), "cli:tester"));
        assert_eq!(row.target, json!({ "account": "ann", "from": ["operator", "administrator"], "to": ["auditor"] }));
        let gone = stage.access.change_account(&stage.console, "bob", AccountChange::Disable, None).await;
        assert!(matches!(gone, Err(AccessError::Missing(_))));
    });
}

#[test]
fn administrators_do_not_serve_themselves() {
    on_each(async |stage| {
        stage.account("ann", &[Role::Administrator]).await;
        stage.account("bob", &[Role::Officer]).await;
        let (ann, bob) = (stage.viewer("ann").await, stage.viewer("bob").await);
        for change in [AccountChange::Roles(Roles::of([Role::Officer])), AccountChange::Scope(Scope::default()), AccountChange::Unlock] {
            assert!(matches!(stage.access.change_account(&ann, "ann", change, None).await, Err(AccessError::Invalid(_))));
        }
        let denied = stage.access.change_account(&bob, "ann", AccountChange::Disable, None).await;
        assert!(matches!(denied, Err(AccessError::Denied(denied)) if denied.permission == Permission::ManageAccounts));
        assert_eq!(stage.newest(1).await, ["account-disable bob denied"]);
        assert!(matches!(stage.access.accounts(&bob).await, Err(AccessError::Denied(_))));
        assert_eq!(stage.access.account(&bob, "bob").await.unwrap().name, "bob");
        assert!(stage.access.account(&bob, "ann").await.is_err());
        assert!(stage.access.audit(&ann, &AuditFilter::default()).await.is_err());
        // Whom an administrator gives a password has to change it, so that only one person knows it.
        let new = AccountChange::Password(secret("cable staple horse"), false);
        stage.access.change_account(&ann, "bob", new, None).await.unwrap();
        let SignIn::Done(session) = stage.try_sign_in("bob", "cable staple horse").await.unwrap() else { panic!("no code") };
        let bob = session.session.viewer;
        assert!(bob.must_change_password() && !bob.may(Permission::ViewContent));
        let wrong = stage.access.change_own_password(&bob, secret(PASSWORD), secret("tea with milk please")).await;
        assert!(matches!(wrong, Err(AccessError::Invalid(_))));
        stage.access.change_own_password(&bob, secret("cable staple horse"), secret("tea with milk please")).await.unwrap();
        let again = stage.access.session(session.cookie.expose_secret(), address(), false).await.unwrap().unwrap();
        assert!(again.viewer.may(Permission::ViewContent));
    });
}

#[test]
fn an_account_is_locked_for_longer_each_time() {
    on_each(async |stage| {
        stage.account("ann", &[Role::Officer]).await;
        for _ in 0..4 {
            assert!(matches!(stage.try_sign_in("ann", "wrong").await, Err(SignInError::Refused)));
        }
        stage.sign_in("ann").await;
        for _ in 0..5 {
            assert!(matches!(stage.try_sign_in("ann", "wrong").await, Err(SignInError::Refused)));
        }
        assert!(stage.alarms.raised().iter().any(|raised| raised.name == Name::AccountLocked && raised.subject == "ann"));
        stage.wait(59);
        assert!(matches!(stage.try_sign_in("ann", PASSWORD).await, Err(SignInError::Refused)));
        stage.wait(1);
        assert!(stage.try_sign_in("ann", "wrong").await.is_err());
        stage.wait(61);
        assert!(stage.try_sign_in("ann", PASSWORD).await.is_err(), "the second lock is two minutes");
        stage.wait(60);
        stage.sign_in("ann").await;
        assert_eq!(stage.access.account(&stage.console, "ann").await.unwrap().failures, 0);
        assert!(stage.alarms.raised().is_empty());
        let rows = stage.audit().await;
        let failed = rows.iter().filter(|row| row.action == "sign-in" && row.outcome == Some(Outcome::Failed)).count();
        assert_eq!(failed, 12);
        // Nobody learns from the trail what was typed into the wrong field.
        assert!(stage.try_sign_in("my secret password", "ann").await.is_err());
        assert_eq!(stage.newest(1).await, ["sign-in ? failed"]);
        assert!(!format!("{:?}", stage.audit().await).contains("my secret"));
    });
}

#[test]
fn guessing_at_once_gains_nothing() {
    on_each(async |stage| {
        stage.account("ann", &[Role::Officer]).await;
        let guesses: Vec<_> = (0..16)
            .map(|number| {
                let (access, address) =
                    (if number % 2 == 0 { stage.access.clone() } else { stage.another() }, format!("198.51.100.{number}"));
                tokio::spawn(async move { access.sign_in(attempt("ann", &format!("guess {number}"), &address, None)).await.is_err() })
            })
            .collect();
        for guess in guesses {
            assert!(guess.await.unwrap());
        }
        let account = stage.access.account(&stage.console, "ann").await.unwrap();
        assert_eq!(account.failures, 5, "what came after the lock was not even looked at");
        assert!(account.locked_until.is_some());
        let rows = stage.audit().await;
        let ids: Vec<i64> = rows.iter().map(|row| row.id).collect();
        assert_eq!(ids, (1..=rows.len() as i64).collect::<Vec<_>>());
        assert_eq!(rows.iter().filter(|row| row.action == "sign-in").count(), 16);
        stage.access.change_account(&stage.console, "ann", AccountChange::Unlock, None).await.unwrap();
        stage.sign_in("ann").await;
    });
}

#[test]
fn one_address_is_slowed_down() {
    on_each(async |stage| {
        stage.account("ann", &[Role::Officer]).await;
        for number in 0..20 {
            assert!(matches!(stage.try_sign_in(&format!("user{number}"), "wrong").await, Err(SignInError::Refused)));
        }
        let Err(SignInError::TooMany { retry_after }) = stage.try_sign_in("ann", PASSWORD).await else { panic!("too many") };
        assert_eq!(retry_after.as_secs(), 30);
        assert!(stage.access.sign_in(attempt("ann", PASSWORD, "192.0.2.2", None)).await.is_ok());
        stage.wait(30);
        stage.sign_in("ann").await;
    });
}

#[test]
fn sessions_end() {
    on_each(async |stage| {
        stage.account("ann", &[Role::Officer]).await;
        let first = stage.sign_in("ann").await;
        let cookie = first.cookie.expose_secret().to_owned();
        let session = async |cookie: &str| stage.access.session(cookie, address(), false).await.unwrap();
        assert!(first.session.csrf_holds(&session(&cookie).await.unwrap().csrf_token().unwrap()));
        assert!(session("nonsense").await.is_none());
        // In use it goes on, idle it ends.
        for _ in 0..3 {
            stage.wait(899);
            assert!(session(&cookie).await.is_some());
        }
        stage.wait(900);
        assert!(session(&cookie).await.is_none());
        stage.wait(-900);
        assert!(session(&cookie).await.is_none(), "it is gone for good");
        // However much it is used, it ends.
        let cookie = stage.sign_in("ann").await.cookie;
        for _ in 0..39 {
            stage.wait(900 - 1);
            assert!(session(cookie.expose_secret()).await.is_some());
        }
        stage.wait(36_000 - 40 * 899 + 899);
        assert!(session(cookie.expose_secret()).await.is_none());
        // A page that looks again by itself is no use of it.
        let cookie = stage.sign_in("ann").await.cookie;
        let look_again = async || stage.access.session(cookie.expose_secret(), address(), true).await.unwrap();
        for _ in 0..8 {
            stage.wait(100);
            assert!(look_again().await.is_some());
        }
        stage.wait(100);
        assert!(look_again().await.is_none());
        // Signing in ends the one that came along; signing out ends it.
        let one = stage.sign_in("ann").await.cookie;
        let SignIn::Done(two) = stage.access.sign_in(attempt("ann", PASSWORD, "192.0.2.1", Some(&one))).await.unwrap() else { panic!() };
        assert!(session(one.expose_secret()).await.is_none());
        assert!(!two.session.csrf_holds(&first.session.csrf_token().unwrap()));
        stage.access.sign_out(two.cookie.expose_secret(), address()).await.unwrap();
        assert!(session(two.cookie.expose_secret()).await.is_none());
        assert_eq!(stage.newest(1).await, ["sign-out ann done"]);
        // All at once, by the owner, and with the account.
        let cookies = [stage.sign_in("ann").await.cookie, stage.sign_in("ann").await.cookie];
        assert_eq!(stage.access.sessions_of(&stage.console, "ann").await.unwrap().len(), 2);
        let ann = session(cookies[0].expose_secret()).await.unwrap().viewer;
        assert_eq!(stage.access.end_sessions(&ann, "ann").await.unwrap(), 2);
        assert!(session(cookies[1].expose_secret()).await.is_none());
        let cookie = stage.sign_in("ann").await.cookie;
        stage.access.change_account(&stage.console, "ann", AccountChange::OidcSubject(None), None).await.unwrap();
        assert!(session(cookie.expose_secret()).await.is_none(), "by which it may have begun");
        let endless = AccountChange::OidcSubject(Some("x".repeat(256)));
        assert!(matches!(stage.access.change_account(&stage.console, "ann", endless, None).await, Err(AccessError::Invalid(_))));
        let cookie = stage.sign_in("ann").await.cookie;
        stage.access.change_account(&stage.console, "ann", AccountChange::Disable, None).await.unwrap();
        assert!(session(cookie.expose_secret()).await.is_none());
        assert!(matches!(stage.try_sign_in("ann", PASSWORD).await, Err(SignInError::Refused)));
        stage.access.change_account(&stage.console, "ann", AccountChange::Enable, None).await.unwrap();
        assert!(session(cookie.expose_secret()).await.is_none());
        for _ in 0..25 {
            stage.sign_in("ann").await;
        }
        assert_eq!(stage.access.sessions_of(&stage.console, "ann").await.unwrap().len(), 20);
    });
}

/// Whoever seals with another key than the console has is told, before anything is sealed.
#[test]
fn a_store_has_one_key_wherever_somebody_works() {
    on_each(async |stage| {
        stage.account("ann", &[Role::Officer]).await;
        let refused = async |elsewhere: &Access| match elsewhere.set_totp(&stage.console, "ann").await {
            Err(AccessError::Broken(said)) => said,
            other => panic!("{other:?}"),
        };
        let elsewhere = stage.elsewhere("none");
        let said = refused(&elsewhere).await;
        assert!(said.contains("no key file") && said.contains("/none/access.key"), "{said}");
        assert!(!stage.key_file("none").exists(), "none is made");
        // As long as nothing is sealed, the key of the console is the one.
        let other = stage.elsewhere("other");
        std::fs::create_dir(stage.key_file("other").parent().unwrap()).unwrap();
        other.ready().await.unwrap();
        let said = refused(&stage.another()).await;
        assert!(said.contains("is not the one that belongs to this store"), "{said}");
        other.set_totp(&stage.console, "ann").await.unwrap();
        assert!(matches!(stage.another().ready().await, Err(AccessError::Broken(said)) if said.contains("is not the one")));
        std::fs::remove_file(stage.key_file("other")).unwrap();
        let lost = stage.elsewhere("other");
        assert!(matches!(lost.ready().await, Err(AccessError::Broken(said)) if said.contains("put it back from its copy")));
        lost.change_account(&stage.console, "ann", AccountChange::NoTotp, None).await.unwrap();
        lost.ready().await.unwrap();
    });
}

fn code(base32: &SecretString, stage: &Stage) -> String {
    let key = Secret::try_from_base32(base32.expose_secret()).expect("base32");
    let generator = Builder::new().with_secret(key).build().expect("a generator");
    generator.generate((stage.now() / SECOND) as u64).to_string()
}

/// Whoever does not know the password can keep an account locked for some time, and no longer.
#[test]
fn strangers_do_not_lock_out_whoever_has_a_second_factor() {
    on_each(async |stage| {
        stage.account("ann", &[Role::Officer]).await;
        let ann = stage.viewer("ann").await;
        let offer = stage.access.totp_offer(&ann).await.unwrap();
        stage.access.totp_accept(&ann, &offer.sealed, &code(&offer.secret, &stage)).await.unwrap();
        for _ in 0..7 {
            assert!(stage.try_sign_in("ann", "wrong").await.is_err());
            stage.wait(300);
        }
        let SignIn::CodeWanted(pending) = stage.try_sign_in("ann", PASSWORD).await.unwrap() else { panic!("a code is wanted") };
        let right = code(&offer.secret, &stage);
        assert!(stage.access.sign_in_code(&pending, &right, address().unwrap(), None).await.is_ok());
        assert_eq!(stage.access.account(&stage.console, "ann").await.unwrap().failures, 0);
    });
}

#[test]
fn a_second_factor_is_asked_for_and_each_code_is_good_once() {
    on_each(async |stage| {
        stage.account("ann", &[Role::Officer]).await;
        let ann = stage.viewer("ann").await;
        let offer = stage.access.totp_offer(&ann).await.unwrap();
        assert!(stage.access.totp_accept(&ann, &offer.sealed, "000000").await.is_err());
        stage.sign_in("ann").await;
        let recovery = stage.access.totp_accept(&ann, &offer.sealed, &code(&offer.secret, &stage)).await.unwrap();
        assert_eq!(recovery.0.len(), 10);
        let pending = async || match stage.try_sign_in("ann", PASSWORD).await.unwrap() {
            SignIn::CodeWanted(pending) => pending,
            SignIn::Done(_) => panic!("a code is wanted"),
        };
        let ip = address().unwrap();
        let go_on = async |pending: &str, code: &str| stage.access.sign_in_code(pending, code, ip, None).await;
        let used = code(&offer.secret, &stage);
        assert!(matches!(go_on(&pending().await, &used).await, Err(SignInError::Refused)), "it was used to set it up");
        stage.wait(30);
        let next = code(&offer.secret, &stage);
        let first = pending().await;
        go_on(&first, &next).await.unwrap();
        assert!(matches!(go_on(&first, &next).await, Err(SignInError::Refused)), "the same code again");
        assert!(matches!(go_on(&pending().await, &used).await, Err(SignInError::Refused)), "one before that");
        let once = recovery.0[3].expose_secret();
        go_on(&pending().await, once).await.unwrap();
        assert!(matches!(go_on(&pending().await, once).await, Err(SignInError::Refused)));
        assert!(matches!(go_on("nonsense", once).await, Err(SignInError::Stale(_))));
        let late = pending().await;
        stage.wait(300);
        assert!(matches!(go_on(&late, &code(&offer.secret, &stage)).await, Err(SignInError::Stale(_))));
        // Codes are not guessed: they count as the password does, and the password does not take that back.
        for _ in 0..5 {
            let _refused = go_on(&pending_or(&stage, &first).await, "000000").await;
        }
        assert!(matches!(stage.try_sign_in("ann", PASSWORD).await, Err(SignInError::Refused)), "it is locked");
        stage.access.change_account(&stage.console, "ann", AccountChange::NoTotp, Some("lost phone".to_owned())).await.unwrap();
        stage.access.change_account(&stage.console, "ann", AccountChange::Unlock, None).await.unwrap();
        stage.sign_in("ann").await;
        let shown = format!("{:?}", stage.audit().await);
        assert!(!shown.contains(offer.secret.expose_secret()) && !shown.contains(once));
    });
}

async fn pending_or(stage: &Stage, other: &str) -> String {
    match stage.try_sign_in("ann", PASSWORD).await {
        Ok(SignIn::CodeWanted(pending)) => pending,
        _ => other.to_owned(),
    }
}

#[test]
fn a_reviewer_reaches_the_scope_and_no_further() {
    on_each(async |stage| {
        stage.account("rev", &[Role::Reviewer]).await;
        let reach = async || stage.viewer("rev").await.reach(Permission::ViewContent).unwrap().clone();
        assert_eq!(reach().await, Reach::Nothing);
        stage.access.set_group(&stage.console, "Sales", set(&["Bob@Example.com", "*.shop.example"]), None).await.unwrap();
        let scope =
            Scope { who: set(&["Ann@Example.com"]), groups: set(&["sales"]), rooms: set(&["tea@rooms.example"]), from: Some(5), to: None };
        stage.access.change_account(&stage.console, "rev", AccountChange::Scope(scope), None).await.unwrap();
        let Reach::Within(limits) = reach().await else { panic!("some") };
        assert_eq!(limits.jids, ["ann@example.com", "bob@example.com"]);
        assert_eq!(
            (limits.domains.as_slice(), limits.rooms.as_slice()),
            (["*.shop.example".to_owned()].as_slice(), ["tea@rooms.example".to_owned()].as_slice())
        );
        assert_eq!((limits.from, limits.to), (Some(5), None));
        // What changes, changes at the next request.
        let session = stage.sign_in("rev").await;
        stage.access.remove_group(&stage.console, "sales", None).await.unwrap();
        let now = stage.access.session(session.cookie.expose_secret(), None, false).await.unwrap().unwrap();
        let Reach::Within(limits) = now.viewer.reach(Permission::ViewContent).unwrap().clone() else { panic!("some") };
        assert_eq!(limits.jids, ["ann@example.com"]);
        assert!(now.viewer.reach(Permission::Export).is_err());
        stage.access.change_account(&stage.console, "rev", AccountChange::Roles(Roles::of([Role::Auditor])), None).await.unwrap();
        let now = stage.access.session(session.cookie.expose_secret(), None, false).await.unwrap().unwrap();
        assert!(now.viewer.reach(Permission::ViewContent).is_err());
        for (name, members) in [("a b", set(&["a@b"])), ("a", set(&["two words"]))] {
            assert!(matches!(stage.access.set_group(&stage.console, name, members, None).await, Err(AccessError::Invalid(_))));
        }
        assert!(matches!(stage.access.remove_group(&stage.console, "sales", None).await, Err(AccessError::Missing(_))));
    });
}

#[test]
fn tokens_can_do_no_more_than_their_account() {
    on_each(async |stage| {
        stage.account("off", &[Role::Officer, Role::Operator]).await;
        stage.account("adm", &[Role::Administrator]).await;
        let (off, adm) = (stage.viewer("off").await, stage.viewer("adm").await);
        let wanted = NewToken {
            name: "nightly".to_owned(),
            roles: Roles::of([Role::Officer]),
            scope: Some(Scope { who: set(&["ann@example.com"]), ..Scope::default() }),
            expires_at: Some(stage.now() + 3_600 * SECOND),
        };
        let (token, text) = stage.access.add_token(&off, "off", wanted.clone()).await.unwrap();
        assert!(text.expose_secret().starts_with("xa_"));
        let bearer = async || stage.access.bearer(text.expose_secret(), address()).await.unwrap();
        let viewer = bearer().await.unwrap();
        assert!(viewer.may(Permission::Export) && !viewer.may(Permission::RetryQuarantine));
        let Reach::Within(limits) = viewer.reach(Permission::Export).unwrap() else { panic!("some") };
        assert_eq!(limits.jids, ["ann@example.com"]);
        assert!(stage.access.add_token(&viewer, "off", wanted.clone()).await.is_err(), "a token makes no tokens");
        assert!(stage.access.add_token(&adm, "off", wanted.clone()).await.is_err(), "nobody makes tokens for others");
        let more = NewToken { roles: Roles::of([Role::Auditor]), ..wanted.clone() };
        assert!(matches!(stage.access.add_token(&off, "off", more).await, Err(AccessError::Invalid(_))));
        assert!(stage.access.bearer("xa_nonsense", None).await.unwrap().is_none());
        assert!(stage.access.bearer("", None).await.unwrap().is_none());
        // It loses what the account loses, and ends in time.
        stage.access.change_account(&stage.console, "off", AccountChange::Roles(Roles::of([Role::Operator])), None).await.unwrap();
        assert!(!bearer().await.unwrap().may(Permission::Export));
        stage.access.change_account(&stage.console, "off", AccountChange::Disable, None).await.unwrap();
        assert!(bearer().await.is_none());
        stage.access.change_account(&stage.console, "off", AccountChange::Enable, None).await.unwrap();
        assert!(bearer().await.is_some());
        stage.wait(3_600);
        assert!(bearer().await.is_none());
        // It is revoked by its owner or an administrator, once.
        let (other, text) =
            stage.access.add_token(&stage.console, "off", NewToken { name: "b".to_owned(), ..NewToken::default() }).await.unwrap();
        stage.account("aud", &[Role::Auditor]).await;
        assert!(matches!(stage.access.revoke_token(&stage.viewer("aud").await, other.id).await, Err(AccessError::Denied(_))));
        assert_eq!(stage.newest(1).await, ["token-revoke aud denied"]);
        stage.access.revoke_token(&adm, other.id).await.unwrap();
        assert!(matches!(stage.access.revoke_token(&adm, other.id).await, Err(AccessError::Invalid(_))));
        assert!(stage.access.bearer(text.expose_secret(), None).await.unwrap().is_none());
        let listed = stage.access.tokens(&adm, Some("off")).await.unwrap();
        assert_eq!(listed.iter().map(|token| token.id).collect::<Vec<_>>(), [token.id, other.id]);
        assert!(listed[1].revoked_at.is_some() && listed[0].used_at.is_some());
    });
}

#[test]
fn the_trail_is_searched_by_those_who_may() {
    on_each(async |stage| {
        stage.account("aud", &[Role::Auditor]).await;
        let aud = stage.viewer("aud").await;
        let target = json!({ "text": ["100% Überzeugt", "a_b!", "the year \"end\\"] });
        stage
            .access
            .record(&stage.console, Event::new(Action::Search, target).of(3).because(Some("Case 7, the GRÖNLAND of ДОГОВОР".to_owned())))
            .await
            .unwrap();
        stage.wait(10);
        let revealed = stage.access.reveal(&aud, Event::new(Action::Verify, json!({})), 42).await.unwrap();
        assert_eq!(revealed, 42);
        let found = async |filter: AuditFilter| -> Vec<String> {
            let rows = stage.access.audit(&aud, &filter).await.unwrap();
            rows.into_iter().filter(|row| row.action != "view-audit").map(|row| row.action).collect()
        };
        let text = |text: &str| AuditFilter { text: Some(text.to_owned()), actions: vec![Action::Search], ..AuditFilter::default() };
        for (wanted, is_there) in [
            ("100%", true),
            ("%zeugt", false),
            ("a_b!", true),
            ("a_b", true),
            ("aXb", false),
            ("case 7", true),
            ("Überzeugt", true),
            ("case 8", false),
            ("year \"end", true),
            ("\"end\\", true),
            ("year end", false),
            ("YEAR \"END", true),
        ] {
            assert_eq!(!found(text(wanted)).await.is_empty(), is_there, "{wanted}");
        }
        // Of other scripts, PostgreSQL knows the small letters as far as its locale does.
        let knows = !matches!(stage.store.endpoint().backend, Backend::Postgres(_));
        for wanted in ["grönland", "договор", "ÜBERZEUGT"] {
            assert!(!knows || !found(text(wanted)).await.is_empty(), "{wanted}");
        }
        assert_eq!(found(AuditFilter { actor: Some("aud".to_owned()), ..AuditFilter::default() }).await, ["verify", "sign-in"]);
        assert_eq!(found(AuditFilter { from: Some(stage.now()), ..AuditFilter::default() }).await, ["verify"]);
        assert_eq!(
            found(AuditFilter { address: Some("192.0.2.1".to_owned()), oldest_first: true, ..AuditFilter::default() }).await,
            ["sign-in", "verify"]
        );
        assert_eq!(found(AuditFilter { actions: vec![Action::AccountAdd], ..AuditFilter::default() }).await, ["account-add"]);
        assert!(found(AuditFilter { outcome: Some(Outcome::Denied), ..AuditFilter::default() }).await.is_empty());
        // Reading it is a row, and pages follow one another.
        let all = stage.audit().await;
        assert!(all.iter().any(|row| row.action == "view-audit" && row.actor == "aud" && row.target["text"] == "case 8"));
        let mut after = None;
        let mut ids = Vec::new();
        while ids.len() < 10 {
            let filter = AuditFilter { limit: 3, after, oldest_first: true, ..AuditFilter::default() };
            let page = stage.access.audit(&aud, &filter).await.unwrap();
            after = page.last().map(|row| row.id);
            ids.extend(page.iter().map(|row| row.id));
        }
        assert_eq!(ids[..10], (1..=10).collect::<Vec<_>>());
        let nobody = Viewer::console("x");
        stage.access.require(&nobody, Permission::Export, Action::Export, &json!({})).await.unwrap();
    });
}
