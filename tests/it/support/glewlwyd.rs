//! A provider of OpenID Connect that others wrote: Glewlwyd, with a database, people, a client and a signing key of a test's own, over TLS.
//!
//! It is told by its REST interface what its administrator would tell it, and people log in by what its log-in page calls.

use std::path::PathBuf;
use std::process::Command;

use openidconnect::url::Url;
use serde_json::{Value, json};

use super::process::{Directory, Process, User, command, free_port, program, run, tail, wait_for};
use super::tls::Authority;
use super::walker::{Page, Walker};

/// The tables that its package brings, with an administrator in them.
const TABLES: &str = "/usr/share/dbconfig-common/data/glewlwyd/install/sqlite3";
const MODULES: &str = "/usr/lib/glewlwyd";
const ADMINISTRATOR: (&str, &str) = ("admin", "password");
/// What everybody's password is there.
pub(crate) const PASSWORD: &str = "ann & bob's words";
/// What the archive is called there.
pub(crate) const CLIENT: &str = "xmpp-archiver";
/// Ways to sign that it has, with what it calls the type of key. (Of a key for ES384 it publishes that it is one for ES512.)
pub(crate) const SIGNATURES: [(&str, &str); 5] =
    [("RS256", "rsa"), ("RS512", "rsa"), ("PS256", "rsa-pss"), ("ES256", "ecdsa"), ("EdDSA", "eddsa")];
/// A key for ES256 of whose x the first byte is zero, which it leaves out of what it publishes.
pub(crate) const KEY_WITH_A_ZERO: &str = "-----BEGIN PRIVATE KEY-----
MIGHAgEAMBMGByqGSM49AgEGCCqGSM49AwEHBG0wawIBAQQgTLz7S+I4PfTJvWN4
HtMjhiB8utdcdy0dElUEFVH4QPehRANCAAQAQ9uQX0tRMGW9fjsf8PMPSII9lo+5
05hgDIovATOohMKVLYE3xa5lo0uuk9ijx/aWMCuwNauE0SiWRLMTWLco
-----END PRIVATE KEY-----
";

pub(crate) struct Glewlwyd {
    process: Option<Process>,
    port: u16,
    directory: Directory,
    authority: Authority,
}

impl Glewlwyd {
    /// A provider that runs, and knows nobody but its administrator.
    pub(crate) fn start() -> Glewlwyd {
        let directory = Directory::new(User::first_of(&["glewlwyd", "nobody"]));
        let authority = Authority::new(&directory);
        authority.issue(&directory, "provider");
        let home = directory.make("home");
        let mut sqlite = Command::new("sqlite3");
        sqlite.arg(home.join("provider.sqlite")).arg(format!(".read {TABLES}"));
        run(sqlite);
        let port = free_port();
        let text = configuration(&directory, port);
        directory.write("provider.conf", &text);
        directory.give_all("home");
        let mut provider = Glewlwyd { process: None, port, directory, authority };
        provider.begin();
        provider
    }

    /// Starts it, or starts it again.
    pub(crate) fn begin(&mut self) {
        let mut glewlwyd = command(self.directory.user(), program("glewlwyd").expect("glewlwyd is installed (script/test sees to that)"));
        glewlwyd.arg("--config-file").arg(self.directory.path().join("provider.conf"));
        let log = self.directory.path().join("log");
        self.process = Some(Process::spawn(glewlwyd, &log));
        wait_for("the provider", || {
            let is_running = self.process.as_mut().is_some_and(Process::is_running);
            assert!(is_running, "the provider ended: {}", tail(&log));
            std::net::TcpStream::connect(("127.0.0.1", self.port)).ok()
        });
    }

    pub(crate) fn kill(&mut self) {
        self.process = None;
    }

    /// The certificate of the authority that its own is of.
    pub(crate) fn authority(&self) -> PathBuf {
        self.authority.certificate().to_owned()
    }

    /// A certificate for another server of the company, and its key.
    pub(crate) fn issue(&self, name: &str) -> (PathBuf, PathBuf) {
        self.authority.issue(&self.directory, name);
        let file = |kind: &str| self.directory.path().join(format!("{name}.{kind}"));
        (file("crt"), file("key"))
    }

    pub(crate) fn url(&self, path: &str) -> Url {
        format!("https://localhost:{}{path}", self.port).parse().expect("an address")
    }

    /// What it calls itself.
    pub(crate) fn issuer(&self) -> String {
        self.url("/api/oidc").into()
    }

    pub(crate) fn administrator(&self) -> Administrator<'_> {
        let mut walker = Walker::new(self.authority.certificate());
        let (username, password) = ADMINISTRATOR;
        let answer = walker.send_json("POST", &self.url("/api/auth"), &json!({ "username": username, "password": password }));
        assert_eq!(answer.status, 200, "{answer:?}");
        Administrator { provider: self, walker }
    }

    /// Sets all up: tokens signed with a key of this type, a client with this secret and these addresses to return to.
    pub(crate) fn furnish(&self, key: &Value, secret: &str, returns: &[&str]) {
        let mut administrator = self.administrator();
        administrator.make_room_for_groups();
        administrator.speak_oidc(&self.issuer(), key);
        administrator.add_client(secret, returns);
    }

    /// Walks from where the console sends a browser to where the provider sends it back: logs in and agrees on its log-in page. Else the status of
    /// its refusal.
    pub(crate) fn log_in(&self, walker: &mut Walker, begin: &Url, name: &str, password: &str) -> Result<Url, u16> {
        let page = walker.get(begin);
        assert_eq!((page.status, page.target().path()), (302, "/login.html"), "{page:?}");
        let query: Vec<(String, String)> = page.target().query_pairs().into_owned().collect();
        let given = |name: &str| query.iter().find(|(other, _)| other == name).map(|(_, value)| value.clone()).expect("what it was given");
        let answer = walker.send_json("POST", &self.url("/api/auth"), &json!({ "username": name, "password": password }));
        if answer.status != 200 {
            return Err(answer.status);
        }
        let agreed = walker.send_json("PUT", &self.url(&format!("/api/auth/grant/{CLIENT}")), &json!({ "scope": given("scope") }));
        assert_eq!(agreed.status, 200, "{agreed:?}");
        let mut on: Url = given("callback_url").parse().expect("an address");
        on.query_pairs_mut().append_key_only("g_continue");
        let sent = walker.get(&on);
        assert_eq!(sent.status, 302, "{sent:?}");
        Ok(sent.target())
    }
}

/// Whoever may change it.
pub(crate) struct Administrator<'p> {
    provider: &'p Glewlwyd,
    walker: Walker,
}

impl Administrator<'_> {
    fn must(&mut self, method: &str, path: &str, body: &Value) -> Page {
        let answer = self.walker.send_json(method, &self.provider.url(path), body);
        assert_eq!(answer.status, 200, "{method} {path}: {answer:?}");
        answer
    }

    /// Its people have groups, which it does not know by itself.
    fn make_room_for_groups(&mut self) {
        let one = json!({ "multiple": false, "read": true, "write": true });
        let many = json!({ "multiple": true, "read": true, "write": true });
        let parameters = json!({ "use-glewlwyd-connection": true, "data-format": { "groups": many, "picture": one } });
        let module =
            json!({ "display_name": "people", "order_rank": 0, "readonly": false, "multiple_passwords": false, "parameters": parameters });
        self.must("PUT", "/api/mod/user/database", &module);
        self.must("PUT", "/api/mod/user/database/reset", &json!({}));
        let scope = json!({ "name": "profile", "display_name": "profile", "password_required": true, "scheme": {} });
        self.must("POST", "/api/scope", &scope);
    }

    /// Makes it a provider of OpenID Connect.
    fn speak_oidc(&mut self, issuer: &str, key: &Value) {
        let plugin = json!({ "module": "oidc", "name": "oidc", "display_name": "oidc", "parameters": parameters(issuer, key) });
        self.must("POST", "/api/mod/plugin", &plugin);
    }

    /// Signs with another key from now on, or calls itself something else.
    pub(crate) fn change(&mut self, issuer: &str, key: &Value) {
        self.must("PUT", "/api/mod/plugin/oidc", &json!({ "display_name": "oidc", "parameters": parameters(issuer, key) }));
        self.must("PUT", "/api/mod/plugin/oidc/reset", &json!({}));
    }

    fn add_client(&mut self, secret: &str, returns: &[&str]) {
        let client = json!({
            "client_id": CLIENT, "name": "the archive", "password": secret, "confidential": true, "enabled": true, "scope": [],
            "redirect_uri": returns, "authorization_type": ["code"], "token_endpoint_auth_method": ["client_secret_basic", "client_secret_post"],
        });
        self.must("POST", "/api/client", &client);
    }

    pub(crate) fn add_person(&mut self, name: &str, shown: &str, groups: &[&str]) {
        let person = json!({
            "username": name, "password": PASSWORD, "name": shown, "email": format!("{name}@example.com"), "groups": groups, "enabled": true,
            "scope": ["openid", "profile", "g_profile"],
        });
        self.must("POST", "/api/user", &person);
    }
}

/// What tokens are signed with: the name of the way, and a key of `openssl`.
pub(crate) fn new_key(way: &str) -> Value {
    let mut openssl = Command::new("openssl");
    openssl.arg("genpkey");
    match kind_of(way) {
        "rsa" | "rsa-pss" => openssl.args(["-algorithm", "RSA", "-pkeyopt", "rsa_keygen_bits:2048"]),
        "ecdsa" => openssl.args(["-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256"]),
        _ => openssl.args(["-algorithm", "ED25519"]),
    };
    key_of(way, &run(openssl))
}

/// What its administrator enters for this private key.
pub(crate) fn key_of(way: &str, private: &str) -> Value {
    let directory = Directory::new(None);
    let mut public = Command::new("openssl");
    public.args(["pkey", "-pubout", "-in"]).arg(directory.write("key.pem", private));
    let size = way.get(2..).filter(|size| size.parse::<u32>().is_ok()).unwrap_or("256");
    json!({ "jwt-type": kind_of(way), "jwt-key-size": size, "key": private, "cert": run(public) })
}

fn kind_of(way: &str) -> &'static str {
    SIGNATURES.iter().find(|(name, _)| *name == way).expect("a way to sign").1
}

fn parameters(issuer: &str, key: &Value) -> Value {
    let claim = |name: &str, property: &str| json!({ "name": name, "user-property": property, "type": "string", "on-demand": false, "mandatory": true, "scope": [] });
    let mut parameters = json!({
        "iss": issuer, "subject-type": "public", "jwks-show": true, "allowed-scope": ["openid", "profile"], "allow-non-oidc": false,
        "access-token-duration": 3600, "refresh-token-duration": 3600, "code-duration": 600, "refresh-token-rolling": false,
        "auth-type-code-enabled": true, "auth-type-code-revoke-replayed": true, "auth-type-token-enabled": false, "auth-type-id-token-enabled": true,
        "auth-type-none-enabled": false, "auth-type-password-enabled": false, "auth-type-client-enabled": false, "auth-type-device-enabled": false,
        "auth-type-refresh-enabled": false, "pkce-allowed": true, "pkce-method-plain-allowed": false, "pkce-required": true,
        "name-claim": "mandatory", "name-claim-scope": [], "email-claim": "mandatory", "email-claim-scope": [], "scope-claim": "no",
        "claims": [claim("preferred_username", "username"), claim("groups", "groups")],
        "oauth-as-iss-id": true, "session-management-allowed": true, "session-cookie-name": "oidc", "session-cookie-expiration": 3600,
    });
    let key = key.as_object().expect("a key").clone();
    parameters.as_object_mut().expect("parameters").extend(key);
    parameters
}

fn configuration(directory: &Directory, port: u16) -> String {
    let file = |name: &str| directory.path().join(name).display().to_string();
    format!(
        "port={port}\nbind_address=\"127.0.0.1\"\nexternal_url=\"https://localhost:{port}\"\nlogin_url=\"login.html\"\napi_prefix=\"api\"\n\
         log_mode=\"console\"\nlog_level=\"INFO\"\ncookie_secure=1\nsession_expiration=3600\nsession_key=\"log-in\"\n\
         admin_scope=\"g_admin\"\nprofile_scope=\"g_profile\"\nhash_algorithm=\"SHA512\"\n\
         static_files_path=\"/usr/share/glewlwyd/webapp/\"\n\
         static_files_mime_types=({{ extension=\".html\"; mime_type=\"text/html\"; }});\n\
         user_module_path=\"{MODULES}/user\"\nclient_module_path=\"{MODULES}/client\"\n\
         user_auth_scheme_module_path=\"{MODULES}/scheme\"\nplugin_module_path=\"{MODULES}/plugin\"\n\
         use_secure_connection=true\nsecure_connection_key_file=\"{}\"\nsecure_connection_pem_file=\"{}\"\n\
         database = {{ type = \"sqlite3\"; path = \"{}\"; }};\n",
        file("provider.key"),
        file("provider.crt"),
        file("home/provider.sqlite"),
    )
}
