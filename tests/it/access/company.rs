//! Signing in by a provider that others wrote (Glewlwyd), over TLS, as a browser does: the console, the provider's log-in, and back.

use std::collections::BTreeMap;
use std::time::Duration;

use openidconnect::url::Url;
use secrecy::SecretString;
use serde_json::{Value, json};
use tokio::runtime::Runtime;

use xmpp_archiver::access::{Access, AuditFilter, NewAccount, NewSession, OidcReturn, Role, Roles, Settings, SignInError, Viewer};
use xmpp_archiver::alarm::Alarms;
use xmpp_archiver::config::{Config, OidcConfig, SecretSource};
use xmpp_archiver::time::{SECOND, now};

use super::stage::{PASSWORD as LOCAL, Stage, address};
use crate::support::archiver::{Archiver, StoreKind};
use crate::support::browser::Browser;
use crate::support::glewlwyd::{CLIENT, Glewlwyd, KEY_WITH_A_ZERO, PASSWORD, SIGNATURES, key_of, new_key};
use crate::support::process::{Process, free_port, wait_for};
use crate::support::walker::{Page, Walker};

/// With what a form writes as something else, and not every provider reads again in the header of HTTP Basic.
const SECRET: &str = "between client & provider: 100 %";
/// Where the access below the console returns to.
const BACK: &str = "https://archive.example.com/sign-in/provider/return";
const NOBODY: &str = "vouches for nobody who has an account here";

/// A company: its provider, and the archive's console. To a browser they are two sites: `localhost` and `127.0.0.1`.
struct Company {
    provider: Glewlwyd,
    archiver: Archiver,
    port: u16,
    runtime: Runtime,
    access: Access,
    _console: Process,
}

impl Company {
    fn new() -> Company {
        let provider = Glewlwyd::start();
        let port = free_port();
        provider.furnish(&new_key("RS256"), SECRET, &[&format!("https://127.0.0.1:{port}/sign-in/provider/return")]);
        let mut administrator = provider.administrator();
        for (name, shown, groups) in [
            ("ann", "Ann Smith", ["staff", "compliance"].as_slice()),
            ("bob", "Bob Stone", &["staff"]),
            ("eve", "Eve Both", &["admins", "compliance"]),
        ] {
            administrator.add_person(name, shown, groups);
        }
        drop(administrator);
        let archiver = Archiver::for_played(StoreKind::Sqlite, "", &[]);
        archiver.set_settings(&format!("{}{}", archiver.settings(), web(&provider, &archiver, port)));
        archiver.must(&["migrate", "up"]);
        let runtime = Runtime::new().expect("a runtime");
        let config = Config::load(Some(&archiver.spool().with_file_name("archiver.toml"))).expect("a configuration");
        let access = Access::open(Settings::from_config(&config, Alarms::default()).expect("settings")).expect("access");
        let account = NewAccount {
            name: "local".to_owned(),
            roles: Roles::of([Role::Officer]),
            password: Some(SecretString::from(LOCAL.to_owned())),
            ..NewAccount::default()
        };
        runtime.block_on(access.add_account(&Viewer::console("tester"), account, None)).expect("an account");
        let console = archiver.begin(&["web"]);
        wait_for("the console", || std::net::TcpStream::connect(("127.0.0.1", port)).ok());
        Company { provider, archiver, port, runtime, access, _console: console }
    }

    fn url(&self, path: &str) -> Url {
        format!("https://127.0.0.1:{}{path}", self.port).parse().expect("an address")
    }

    fn walker(&self) -> Walker {
        Walker::new(&self.provider.authority())
    }

    /// From the page of the sign-in to where the provider is.
    fn set_out(&self, walker: &mut Walker) -> Url {
        let page = walker.get(&self.url("/sign-in"));
        assert!(page.status == 200 && page.body.contains("href=\"/sign-in/provider\""), "{page:?}");
        let page = walker.get(&self.url("/sign-in/provider"));
        assert_eq!(page.status, 303, "{page:?}");
        page.target()
    }

    /// To the provider, and with what it says to the way back, which is not gone yet.
    fn vouched(&self, walker: &mut Walker, name: &str) -> Url {
        let begin = self.set_out(walker);
        self.provider.log_in(walker, &begin, name, PASSWORD).expect("a right password")
    }

    /// All the way.
    fn arrive(&self, walker: &mut Walker, name: &str) -> Page {
        let back = self.vouched(walker, name);
        walker.get(&back)
    }

    /// By the form, without the provider.
    fn sign_in(&self, walker: &mut Walker) -> Page {
        let token = walker.get(&self.url("/sign-in")).field("csrf");
        walker.submit(&self.url("/sign-in"), &[("csrf", &token), ("name", "local"), ("password", LOCAL), ("next", "")])
    }

    fn is_in(&self, walker: &mut Walker) -> bool {
        walker.get(&self.url("/search")).status == 200
    }

    /// Action, actor and outcome of the newest rows of the audit trail, the newest last.
    fn newest(&self, count: usize) -> Vec<String> {
        let rows = self.rows();
        rows[rows.len() - count..].to_vec()
    }

    /// All of them.
    fn rows(&self) -> Vec<String> {
        let filter = AuditFilter { oldest_first: true, ..AuditFilter::default() };
        let rows = self.runtime.block_on(self.access.audit(&Viewer::console("tester"), &filter)).expect("the audit trail");
        let told =
            |row: &xmpp_archiver::access::AuditRow| format!("{} {} {}", row.action, row.actor, row.outcome.expect("an outcome").word());
        // That it was looked at is written down as well.
        rows.iter().filter(|row| row.action != "view-audit").map(told).collect()
    }

    fn logged(&self) -> String {
        let log = self.archiver.spool().with_file_name("begun");
        std::fs::read_to_string(log).expect("its log")
    }
}

/// The console's part of the configuration.
fn web(provider: &Glewlwyd, archiver: &Archiver, port: u16) -> String {
    let (certificate, key) = provider.issue("console");
    format!(
        "\n[web]\nlisten = '127.0.0.1:{port}'\npublic_url = 'https://127.0.0.1:{port}'\ntls_cert = '{}'\ntls_key = '{}'\nkey_file = '{}'\n\
         [web.oidc]\nissuer = '{}'\nclient_id = '{CLIENT}'\nclient_secret = '{SECRET}'\ntls_ca = '{}'\nscopes = ['profile']\n\
         create = true\nroles_claim = 'groups'\n\
         [web.oidc.roles]\nofficer = ['compliance']\noperator = ['im']\nadministrator = ['admins']\n",
        certificate.display(),
        key.display(),
        archiver.spool().with_file_name("access.key").display(),
        provider.issuer(),
        provider.authority().display(),
    )
}

/// An address with another value in its query.
fn with(url: &Url, name: &str, value: &str) -> Url {
    let pairs: Vec<(String, String)> = url.query_pairs().into_owned().collect();
    assert!(pairs.iter().any(|(other, _)| other == name), "no {name} in {url}");
    let mut changed = url.clone();
    changed.query_pairs_mut().clear();
    for (other, old) in pairs {
        let new = if other == name { value } else { &old };
        changed.query_pairs_mut().append_pair(&other, new);
    }
    changed
}

#[test]
fn people_of_the_company_sign_in_and_out() {
    let company = Company::new();
    let mut walker = company.walker();
    let begin = company.set_out(&mut walker);
    assert_eq!(company.provider.log_in(&mut walker, &begin, "ann", "something else"), Err(401));
    assert!(!company.is_in(&mut walker), "the provider let nobody in");
    let page = company.arrive(&mut walker, "ann");
    assert_eq!(page.status, 303, "{page:?}\n{}", company.logged());
    let home = walker.get(&page.target());
    assert!(home.status == 200 && home.body.contains("Ann Smith"), "{home:?}");
    assert_eq!(company.newest(3), ["account-add provider done", "sign-in ann done", "view-overview ann done"]);
    assert!(company.is_in(&mut walker), "officers search");
    assert_eq!(walker.get(&company.url("/accounts")).status, 403, "and have no say in accounts");
    let place = format!("127.0.0.1:{}", company.port);
    let cookies: Vec<&String> = walker.cookies[&place].keys().collect();
    assert_eq!(cookies, ["__Host-session"], "the way is over");
    let before = walker.clone();
    let token = walker.get(&company.url("/search")).field("csrf");
    let page = walker.submit(&company.url("/sign-out"), &[("csrf", &token)]);
    assert_eq!((page.status, page.target()), (303, company.url("/sign-in?done=signed-out")), "{page:?}");
    assert!(!company.is_in(&mut walker) && !company.is_in(&mut before.clone()), "the session is over, whoever has its cookie");
    // The provider knows the person still, and the account is there already.
    assert_eq!(company.arrive(&mut walker, "ann").status, 303);
    assert_eq!(company.newest(2), ["sign-out ann done", "sign-in ann done"]);
}

/// The cookies must be such that a browser sends them when another site sends it back.
#[test]
fn a_browser_finds_the_way_to_another_site_and_back() {
    let company = Company::new();
    let mut browser = Browser::new();
    browser.trust_everybody();
    browser.visit(company.url("/sign-in/provider").as_str());
    let there: Url = browser.evaluate("location.href").as_str().and_then(|url| url.parse().ok()).expect("an address");
    assert_eq!((there.host_str(), there.path()), (Some("localhost"), "/login.html"), "{}", company.logged());
    let on = there.query_pairs().find(|(name, _)| name == "callback_url").expect("where to go on").1.into_owned();
    for (method, path, body) in [
        ("POST", "/api/auth".to_owned(), json!({ "username": "ann", "password": PASSWORD })),
        ("PUT", format!("/api/auth/grant/{CLIENT}"), json!({ "scope": "openid profile" })),
    ] {
        let body = Value::from(body.to_string());
        let script = format!(
            "var ask = new XMLHttpRequest(); ask.open('{method}', '{path}', false); \
             ask.setRequestHeader('Content-Type', 'application/json'); ask.send({body}); ask.status"
        );
        assert_eq!(browser.evaluate(&script), 200, "{method} {path}");
    }
    browser.visit(&format!("{on}&g_continue"));
    let here = browser.evaluate("location.href + ' ' + document.body.innerText");
    let here = here.as_str().expect("a text");
    assert!(here.starts_with(company.url("/").as_str()) && here.contains("Ann Smith"), "{here}\n{}", company.logged());
    assert_eq!(company.newest(2), ["sign-in ann done", "view-overview ann done"]);
}

#[test]
fn whoever_gets_no_role_stays_out() {
    let company = Company::new();
    for name in ["bob", "eve"] {
        let mut walker = company.walker();
        let page = company.arrive(&mut walker, name);
        assert!(page.status == 403 && page.body.contains(NOBODY), "{name}: {page:?}");
        assert_eq!(company.newest(1), ["sign-in ? failed"]);
        assert!(!company.is_in(&mut walker));
    }
}

#[test]
fn an_answer_is_good_once_and_for_whom_it_is() {
    let company = Company::new();
    let mut walker = company.walker();
    let back = company.vouched(&mut walker, "ann");
    for (who, url) in [
        (company.walker(), back.clone()),
        (walker.clone(), with(&back, "state", "another")),
        (walker.clone(), with(&back, "iss", "https://elsewhere.example")),
    ] {
        let page = who.clone().get(&url);
        assert!(page.status == 403 && page.body.contains("begin anew"), "{url}: {page:?}");
    }
    let mut later = walker.clone();
    assert_eq!(walker.get(&back).status, 303);
    let page = walker.get(&back);
    assert!(page.status == 403 && page.body.contains("begin anew"), "the cookie is gone: {page:?}");
    let page = later.get(&back);
    assert!(page.status == 403 && page.body.contains(NOBODY), "the provider takes a code once: {page:?}");
    // What was changed on the way there: the token is not what was asked for, and the code not for whom holds the verifier.
    for (name, value) in [("nonce", "another"), ("code_challenge", "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM")] {
        let mut walker = company.walker();
        let begin = with(&company.set_out(&mut walker), name, value);
        let back = company.provider.log_in(&mut walker, &begin, "ann", PASSWORD).expect("a right password");
        let page = walker.get(&back);
        assert!(page.status == 403 && page.body.contains(NOBODY), "{name}: {page:?}");
    }
    assert_eq!(company.newest(3), ["sign-in ? failed"; 3]);
}

#[test]
fn a_provider_that_lets_nobody_in_is_told() {
    let company = Company::new();
    let mut walker = company.walker();
    let mut begin = company.set_out(&mut walker);
    begin.query_pairs_mut().append_pair("prompt", "none");
    let sent = walker.get(&begin);
    let back = sent.target();
    assert!(sent.status == 302 && back.query_pairs().any(|(name, _)| name == "error"), "{sent:?}");
    let page = walker.get(&back);
    assert!(page.status == 403 && page.body.contains("let nobody in (") && page.body.contains("_required)"), "{page:?}");
    assert_eq!(company.newest(1), ["sign-in ? failed"]);
    let page = walker.get(&with(&back, "error", "temporarily_unavailable"));
    assert!(page.status == 503 && page.body.contains("can’t be asked at the moment"), "{page:?}");
    let page = walker.get(&with(&back, "error", "<script>alert(1)</script>"));
    assert!(page.status == 403 && page.body.contains("an error without a name") && !page.body.contains("alert("), "{page:?}");
}

#[test]
fn while_the_provider_is_away_accounts_of_the_archive_work() {
    let mut company = Company::new();
    company.provider.kill();
    let mut walker = company.walker();
    let page = walker.get(&company.url("/sign-in/provider"));
    assert!(page.status == 503 && page.body.contains("can’t be asked at the moment"), "{page:?}");
    assert_eq!(company.sign_in(&mut walker).status, 303);
    assert!(company.is_in(&mut walker));
    company.provider.begin();
    // For some seconds everybody is told what it was.
    wait_for("the provider to be asked again", || (walker.get(&company.url("/sign-in/provider")).status == 303).then_some(()));
    let mut walker = company.walker();
    let back = company.vouched(&mut walker, "ann");
    company.provider.kill();
    let rows = company.rows();
    let page = walker.get(&back);
    assert!(page.status == 503 && page.body.contains("can’t be asked at the moment"), "{page:?}");
    assert_eq!(company.rows(), rows, "nobody was refused");
    company.provider.begin();
    assert_eq!(company.arrive(&mut walker, "ann").status, 303, "{}", company.logged());
}

/// The access below the console, with a clock of the test's own.
async fn staged(provider: &Glewlwyd, change: impl FnOnce(&mut OidcConfig)) -> Stage {
    let mut config = OidcConfig {
        issuer: provider.issuer(),
        client_id: CLIENT.to_owned(),
        client_secret: Some(SecretSource::Inline(SECRET.to_owned().into())),
        tls_ca: Some(provider.authority()),
        scopes: vec!["profile".to_owned()],
        name_claim: "preferred_username".to_owned(),
        create: true,
        roles_claim: Some("groups".to_owned()),
        clock_skew: Duration::from_secs(60),
        roles: BTreeMap::from([("officer", vec!["compliance".to_owned()])]),
    };
    change(&mut config);
    let stage = Stage::with_provider(StoreKind::Sqlite, Some(config)).await;
    stage.wait((now() - stage.now()) / SECOND);
    stage
}

async fn sign_in(stage: &Stage, provider: &Glewlwyd) -> Result<NewSession, SignInError> {
    let start = stage.access.oidc_start().await?;
    let mut walker = Walker::new(&provider.authority());
    let back = provider.log_in(&mut walker, &start.url.parse().expect("an address"), "ann", PASSWORD).expect("a right password");
    let query: BTreeMap<String, String> = back.query_pairs().into_owned().collect();
    let (state, code, issuer) = (query["state"].as_str(), query["code"].as_str(), query.get("iss").map(String::as_str));
    let address = address().expect("an address");
    stage.access.oidc_finish(OidcReturn { cookie: &start.cookie, state, code, error: None, issuer, address, previous: None }).await
}

fn furnished() -> Glewlwyd {
    let provider = Glewlwyd::start();
    provider.furnish(&new_key("RS256"), SECRET, &[BACK]);
    provider.administrator().add_person("ann", "Ann Smith", &["compliance"]);
    provider
}

#[test]
fn every_signature_of_a_key_that_is_changed_is_verified() {
    let provider = furnished();
    Runtime::new().expect("a runtime").block_on(async {
        let stage = staged(&provider, |_| {}).await;
        let new = SIGNATURES.map(|(way, _)| (way, new_key(way)));
        for (way, key) in new.into_iter().chain([("ES256", key_of("ES256", KEY_WITH_A_ZERO))]) {
            provider.administrator().change(&provider.issuer(), &key);
            stage.wait(61);
            let session = sign_in(&stage, &provider).await;
            assert_eq!(
                session.unwrap_or_else(|error| panic!("{way}: {error}")).session.viewer.roles(),
                Roles::of([Role::Officer]),
                "{way}"
            );
        }
        // Whoever shows tokens of unknown keys does not make us ask again and again.
        provider.administrator().change(&provider.issuer(), &new_key("RS256"));
        assert!(matches!(sign_in(&stage, &provider).await, Err(SignInError::Refused)));
        stage.wait(61);
        sign_in(&stage, &provider).await.unwrap();
    });
}

#[test]
fn what_the_provider_calls_itself_must_be_what_is_configured() {
    let provider = furnished();
    let slashed = format!("{}/", provider.issuer());
    Runtime::new().expect("a runtime").block_on(async {
        for (called, configured, fits) in [
            (provider.issuer(), provider.issuer(), true),
            (provider.issuer(), slashed.clone(), false),
            (slashed.clone(), slashed.clone(), true),
            (slashed.clone(), provider.issuer(), false),
        ] {
            provider.administrator().change(&called, &new_key("ES256"));
            let stage = staged(&provider, |config| config.issuer = configured.clone()).await;
            match sign_in(&stage, &provider).await {
                Ok(_) => assert!(fits, "{called} for {configured}"),
                Err(error) => {
                    let said = error.to_string();
                    assert!(!fits && matches!(error, SignInError::Away(_)), "{called} for {configured}: {said}");
                    assert!(said.contains(&format!("`{called}`")) && said.contains(&format!("`{configured}`")), "{said}");
                }
            }
        }
    });
}

#[test]
fn a_client_that_the_provider_does_not_take_is_no_fault_of_whoever_comes() {
    let provider = furnished();
    Runtime::new().expect("a runtime").block_on(async {
        let stage = staged(&provider, |config| config.client_secret = Some(SecretSource::Inline("another".to_owned().into()))).await;
        let said = sign_in(&stage, &provider).await.unwrap_err();
        assert!(matches!(said, SignInError::Away(_)), "{said}");
        let stage = staged(&provider, |config| config.tls_ca = None).await;
        let said = stage.access.oidc_start().await.unwrap_err().to_string();
        assert!(said.contains("can't be asked") && said.contains("TLS to localhost") && said.contains("certificate"), "{said}");
    });
}
