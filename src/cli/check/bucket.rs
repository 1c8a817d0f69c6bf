//! Check of the bucket that an export is put into: it is reached, lets us in, and can lock.

use super::finding::About;
use crate::config::ScheduleConfig;
use crate::export::s3::{Bucket, judge};

/// Looks at the bucket of one export; nothing is put there.
pub(super) async fn check(export: &ScheduleConfig, offline: bool, about: &mut About<'_>) {
    let Some(s3) = &export.s3 else { return };
    let bucket = match Bucket::new(s3) {
        Ok(bucket) => bucket,
        Err(said) => return about.fail("bucket", said, "mend `secret_access_key`, `session_token` or `tls_ca` of [export.s3]"),
    };
    if offline {
        return;
    }
    let place = s3.place();
    match bucket.rule().await {
        Ok(rule) => match judge(s3, &rule) {
            Ok(found) => about.ok("bucket", format!("{place}: {found}")),
            Err((found, advice)) => about.fail("bucket", format!("{place}: {found}"), advice),
        },
        Err(failure) if failure.is("AccessDenied", 403) => about.warn("bucket", format!("{place}: {failure}"), failure.advice()),
        Err(failure) => about.fail("bucket", format!("{place}: {failure}"), failure.advice()),
    }
}
