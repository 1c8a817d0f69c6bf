//! A certificate authority of our own, made with `openssl`.

use std::path::{Path, PathBuf};
use std::process::Command;

use super::process::{Directory, run};

const DAYS: &str = "30";

/// An authority whose files are in a server's directory.
#[derive(Debug)]
pub(crate) struct Authority {
    certificate: PathBuf,
    key: PathBuf,
}

impl Authority {
    pub(crate) fn new(directory: &Directory) -> Authority {
        let certificate = directory.path().join("authority.crt");
        let key = directory.path().join("authority.key");
        let mut openssl = new_key(&key);
        openssl.args(["-x509", "-days", DAYS, "-subj", "/CN=Tests"]);
        openssl.arg("-out").arg(&certificate);
        run(openssl);
        Authority { certificate, key }
    }

    pub(crate) fn certificate(&self) -> &Path {
        &self.certificate
    }

    /// Makes `NAME.crt` and `NAME.key` for `localhost` and 127.0.0.1, readable by the directory's user.
    pub(crate) fn issue(&self, directory: &Directory, name: &str) {
        let key = directory.write(&format!("{name}.key"), "");
        let request = directory.path().join(format!("{name}.csr"));
        let mut openssl = new_key(&key);
        openssl.args(["-subj", "/CN=localhost"]);
        openssl.arg("-out").arg(&request);
        run(openssl);
        let names = "subjectAltName=DNS:localhost,IP:127.0.0.1\n";
        let names = directory.write(&format!("{name}.ext"), names);
        let mut sign = Command::new("openssl");
        sign.args(["x509", "-req", "-days", DAYS, "-CAcreateserial"]);
        sign.arg("-CA").arg(&self.certificate);
        sign.arg("-CAkey").arg(&self.key);
        sign.arg("-in").arg(&request).arg("-extfile").arg(names);
        sign.arg("-out").arg(directory.write(&format!("{name}.crt"), ""));
        run(sign);
    }
}

fn new_key(key: &Path) -> Command {
    let mut openssl = Command::new("openssl");
    openssl.args(["req", "-new", "-nodes", "-newkey", "ec"]);
    openssl.args(["-pkeyopt", "ec_paramgen_curve:prime256v1"]);
    openssl.arg("-keyout").arg(key);
    openssl
}
