//! Tokens as providers make them (RFC 7515, RFC 7519), signed with `openssl`.

use std::path::PathBuf;
use std::process::Command;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Value, json};

use crate::support::process::{Directory, run};

/// A key of a provider.
pub(super) struct SigningKey {
    file: PathBuf,
    name: String,
}

impl SigningKey {
    pub(super) fn new(directory: &Directory, name: &str) -> SigningKey {
        let file = directory.path().join(format!("{name}.pem"));
        let mut openssl = Command::new("openssl");
        openssl.args(["genrsa", "-out"]).arg(&file).arg("2048");
        run(openssl);
        SigningKey { file, name: name.to_owned() }
    }

    pub(super) fn name(&self) -> &str {
        &self.name
    }

    /// Its public half, as RFC 7517 has it.
    pub(super) fn public(&self) -> Value {
        let mut openssl = Command::new("openssl");
        openssl.args(["rsa", "-noout", "-modulus", "-in"]).arg(&self.file);
        let said = run(openssl);
        let digits = said.trim().rsplit_once('=').expect("Modulus=…").1;
        let byte = |index: usize| u8::from_str_radix(&digits[index..index + 2], 16).expect("digits");
        let modulus: Vec<u8> = (0..digits.len()).step_by(2).map(byte).collect();
        json!({ "kty": "RSA", "use": "sig", "alg": "RS256", "kid": self.name, "n": URL_SAFE_NO_PAD.encode(modulus), "e": "AQAB" })
    }

    /// A token with this key's signature and this key's name.
    pub(super) fn sign(&self, claims: &Value) -> String {
        self.sign_as(&self.name, claims)
    }

    /// A token with this key's signature and another's name.
    pub(super) fn sign_as(&self, name: &str, claims: &Value) -> String {
        let said = said(&json!({ "alg": "RS256", "typ": "JWT", "kid": name }), claims);
        let text = self.file.with_extension("txt");
        std::fs::write(&text, &said).expect("write the text");
        let signature = self.file.with_extension("sig");
        let mut openssl = Command::new("openssl");
        openssl.args(["dgst", "-sha256", "-sign"]).arg(&self.file).arg("-out").arg(&signature).arg(&text);
        run(openssl);
        format!("{said}.{}", URL_SAFE_NO_PAD.encode(std::fs::read(signature).expect("a signature")))
    }
}

/// A token that says of itself that nobody signed it.
pub(super) fn unsigned(claims: &Value) -> String {
    format!("{}.", said(&json!({ "alg": "none", "typ": "JWT" }), claims))
}

/// A token that whoever knows the secret could have made.
pub(super) fn with_secret(secret: &str, claims: &Value) -> String {
    use hmac::Mac;
    let said = said(&json!({ "alg": "HS256", "typ": "JWT" }), claims);
    let mut mac = hmac::Hmac::<sha2::Sha256>::new_from_slice(secret.as_bytes()).expect("a key");
    mac.update(said.as_bytes());
    format!("{said}.{}", URL_SAFE_NO_PAD.encode(mac.finalize().into_bytes()))
}

fn said(header: &Value, claims: &Value) -> String {
    format!("{}.{}", URL_SAFE_NO_PAD.encode(header.to_string()), URL_SAFE_NO_PAD.encode(claims.to_string()))
}
