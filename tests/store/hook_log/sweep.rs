//! Leftovers of killed hooks in the spool.

use std::fs::{self, File};
use std::time::Duration;

use jiff::SignedDuration;
use tagship::base::clock::Clock as _;

use super::Fixture;

/// The agent looks once a minute.
const MINUTE: SignedDuration = SignedDuration::from_mins(1);
const HOUR: SignedDuration = SignedDuration::from_hours(1);

#[tokio::test]
async fn unfinished_record_is_swept_after_an_hour() {
    let fixture = Fixture::new();
    let spool = tempfile::tempdir().unwrap();
    let tmp = spool.path().join("tmp");
    fs::create_dir(&tmp).unwrap();
    fs::create_dir(spool.path().join("new")).unwrap();
    let bound = fixture.clock.now() + MINUTE - HOUR;
    for (name, time) in [
        ("before", bound),
        ("after", bound - SignedDuration::from_secs(1)),
    ] {
        let file = File::create(tmp.join(name)).unwrap();
        file.set_modified(time.into()).unwrap();
    }
    let intake = fixture.intake().run(spool.path().to_owned());
    let mut intake = std::pin::pin!(intake);
    assert!(futures::poll!(&mut intake).is_pending());
    fixture.clock.advance(Duration::from_secs(59));
    assert!(futures::poll!(&mut intake).is_pending());
    assert!(tmp.join("after").exists(), "it looks once a minute");
    fixture.clock.advance(Duration::from_secs(1));
    assert!(futures::poll!(&mut intake).is_pending());
    assert!(tmp.join("before").exists(), "an hour old, and no more");
    assert!(!tmp.join("after").exists());
}
