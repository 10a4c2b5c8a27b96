//! Clocks and randomness of the real world.

use std::time::Duration;

use zoutbox_storage::System;

#[test]
fn the_monotonic_clock_never_goes_back_and_sleeping_takes_at_least_as_long_as_asked() {
    let clock = System::real().clock;
    let before = clock.monotonic();
    clock.sleep(Duration::from_millis(5));
    let after = clock.monotonic();
    assert!(after >= before + Duration::from_millis(5));
    let mut last = after;
    for _ in 0..1000 {
        let now = clock.monotonic();
        assert!(now >= last);
        last = now;
    }
}

#[test]
fn the_time_of_day_is_in_milliseconds() {
    let now = System::real().clock.now_ms();
    let (in_2024, in_2200) = (1_704_067_200_000, 7_258_118_400_000);
    assert!((in_2024..in_2200).contains(&now), "{now}");
}

#[test]
fn randomness_fills_every_length_to_its_end() {
    let system = System::real();
    system.entropy.fill(&mut []).expect("nothing to fill");
    // More than one call of getrandom(2) gives when it is interrupted; no 64 of its bytes in a row are zero.
    let mut bytes = vec![0; 100_000];
    system.entropy.fill(&mut bytes).expect("filled");
    assert!(bytes.chunks(64).all(|chunk| chunk.iter().any(|byte| *byte != 0)));
    assert_ne!(system.random().expect("random"), system.random().expect("random"));
}

#[test]
fn a_system_knows_who_it_is() {
    let system = System::real();
    assert_eq!(system.pid, std::process::id());
    assert!(!system.host.is_empty());
}
