use std::collections::HashSet;

use proptest::prelude::*;

use super::{MOST_RUNS, Place, Seen, Window, WindowError, seed};

const SEED: u32 = 7;

fn place(epoch: u64, sequence: u64) -> Place {
    Place { epoch, sequence }
}

fn marked(places: &[(u64, u64)]) -> Window {
    let mut window = Window::default();
    for (epoch, sequence) in places {
        window.mark(place(*epoch, *sequence), 100);
    }
    window
}

fn runs(window: &Window) -> Vec<(u64, u64, u64)> {
    window.runs.iter().map(|run| (run.epoch, run.first, run.last)).collect()
}

#[test]
fn a_writer_in_order_costs_one_run_an_epoch() {
    let mut window = Window::default();
    for sequence in 1..=10_000 {
        window.mark(place(1 + sequence / 5_000, sequence), 100);
    }
    assert_eq!(runs(&window), [(1, 1, 4_999), (2, 5_000, 9_999), (3, 10_000, 10_000)]);
    assert!(window.encode(SEED).len() < 32, "{} bytes", window.encode(SEED).len());
}

#[test]
fn the_same_sequence_of_another_epoch_is_another_record() {
    let window = marked(&[(1, 10), (1, 11), (1, 12), (2, 12)]);
    assert_eq!(window.look(place(1, 11)), Seen::Yes);
    assert_eq!(window.look(place(2, 11)), Seen::No, "1/11 was an unacknowledged tail, 2/11 took its number");
    assert_eq!(window.look(place(2, 12)), Seen::Yes);
}

#[test]
fn an_epoch_that_comes_late_is_not_taken_for_applied() {
    let mut window = Window::default();
    (1..=15).for_each(|sequence| window.mark(place(1, sequence), 100));
    (16..=20).for_each(|sequence| window.mark(place(3, sequence), 100));
    for sequence in 11..=15 {
        assert_eq!(window.look(place(2, sequence)), Seen::No);
    }
}

#[test]
fn a_hole_stays_open_until_its_record_comes() {
    let mut window = marked(&[(1, 1), (1, 2), (1, 4), (1, 5)]);
    assert_eq!(window.look(place(1, 3)), Seen::No);
    assert_eq!(runs(&window), [(1, 1, 2), (1, 4, 5)]);
    window.mark(place(1, 3), 100);
    assert_eq!(runs(&window), [(1, 1, 5)]);
}

#[test]
fn beyond_the_bound_the_past_is_forgotten_and_says_so() {
    let mut window = Window::default();
    for sequence in [10, 20, 30, 40] {
        window.mark(place(1, sequence), 2);
    }
    let horizon = place(1, 20);
    assert_eq!(runs(&window), [(1, 30, 30), (1, 40, 40)]);
    for sequence in [1, 10, 15, 20] {
        assert_eq!(window.look(place(1, sequence)), Seen::Forgotten(horizon), "sequence {sequence}");
    }
    assert_eq!([25, 30, 35].map(|s| window.look(place(1, s))), [Seen::No, Seen::Yes, Seen::No]);
    assert_eq!(Window::decode(&window.encode(SEED), SEED), Ok(window), "the horizon is saved as well");
}

#[test]
fn a_lower_bound_than_before_forgets_at_the_next_record() {
    let mut window = marked(&[(1, 10), (1, 20), (1, 30)]);
    window.mark(place(2, 31), 1);
    assert_eq!(runs(&window), [(2, 31, 31)]);
    assert_eq!(window.look(place(1, 40)), Seen::No, "above the horizon the set is exact");
    assert_eq!(window.look(place(1, 5)), Seen::Forgotten(place(1, 30)));
}

#[test]
fn the_last_numbers_there_are_do_not_wrap() {
    let end = u64::MAX;
    let window = marked(&[(1, end), (2, 0), (end, end - 1), (end, end)]);
    assert_eq!(runs(&window), [(1, end, end), (2, 0, 0), (end, end - 1, end)]);
    assert_eq!(Window::decode(&window.encode(SEED), SEED), Ok(window));
}

fn golden_windows() -> [(&'static [u8], Window); 4] {
    let mut in_order = Window::default();
    (1..=1_000).for_each(|sequence| in_order.mark(place(1, sequence), 100));
    let mut holes = marked(&[(1, 1), (1, 2), (1, 4), (1, 300), (3, 290), (3, 70_000)]);
    holes.mark(place(u64::MAX, u64::MAX), 100);
    let mut forgotten = Window::default();
    for sequence in [10, 20, 30, 40] {
        forgotten.mark(place(5, sequence), 2);
    }
    [
        (include_bytes!("../../../../../fixtures/inbox-v1/empty.window"), Window::default()),
        (include_bytes!("../../../../../fixtures/inbox-v1/in-order.window"), in_order),
        (include_bytes!("../../../../../fixtures/inbox-v1/holes.window"), holes),
        (include_bytes!("../../../../../fixtures/inbox-v1/forgotten.window"), forgotten),
    ]
}

/// The state of writer `orders` on share 00 to 0f, as `fixtures/inbox-v1/README.md` says.
fn golden_seed() -> u32 {
    let share = "000102030405060708090a0b0c0d0e0f".parse().unwrap();
    seed(&share, &zoutbox_format::WriterId::new("orders").unwrap())
}

#[test]
fn golden_states_are_read_and_written_byte_for_byte() {
    for (bytes, window) in golden_windows() {
        assert_eq!(window.encode(golden_seed()), bytes, "{window:?}");
        assert_eq!(Window::decode(bytes, golden_seed()), Ok(window));
    }
}

#[test]
fn damage_another_writer_and_a_newer_version_are_told_apart() {
    let bytes = marked(&[(1, 1), (1, 2), (1, 9), (2, 3)]).encode(SEED);
    for bit in 0..bytes.len() * 8 {
        let mut flipped = bytes.clone();
        flipped[bit / 8] ^= 1 << (bit % 8);
        assert_eq!(Window::decode(&flipped, SEED), Err(WindowError::Damaged), "bit {bit}");
    }
    for length in 0..bytes.len() {
        assert_eq!(Window::decode(&bytes[..length], SEED), Err(WindowError::Damaged));
    }
    assert_eq!(Window::decode(&bytes, SEED + 1), Err(WindowError::Damaged), "another writer's");
    assert_eq!(Window::decode(&sealed(&[2, 1, 2, 3]), SEED), Err(WindowError::Newer(2)));
}

/// With a good CRC: what a bug or a forger could have saved.
fn sealed(fields: &[u8]) -> Vec<u8> {
    let mut hasher = crc32fast::Hasher::new_with_initial(SEED);
    hasher.update(fields);
    [fields, &hasher.finalize().to_le_bytes()].concat()
}

#[test]
fn fields_that_make_no_sense_are_damage_whatever_the_checksum_says() {
    assert!(Window::decode(&sealed(&[1, 0, 0, 1, 1, 1, 0]), SEED).is_ok());
    let wrong: &[(&str, &[u8])] = &[
        ("no version", &[]),
        ("version 0", &[0, 0, 0, 0]),
        ("no count", &[1, 0, 0]),
        ("a run is missing", &[1, 0, 0, 1]),
        ("something behind the runs", &[1, 0, 0, 0, 0]),
        ("runs that touch", &[1, 0, 0, 2, 1, 1, 0, 0, 1, 0]),
        ("runs that overlap", &[1, 0, 0, 2, 1, 1, 0, 0, 0, 0]),
        ("a run at the horizon", &[1, 1, 5, 1, 0, 5, 0]),
        ("a number longer than needed", &[1, 0x80, 0, 0, 0]),
        ("a number beyond 64 bits", &[1, 255, 255, 255, 255, 255, 255, 255, 255, 255, 2, 0, 0]),
        ("an epoch beyond 64 bits", &[1, 255, 255, 255, 255, 255, 255, 255, 255, 255, 1, 0, 1, 1, 1, 0]),
        ("more runs than there may be", &[1, 0, 0, 0x81, 0x80, 0x04]),
    ];
    for (what, fields) in wrong {
        assert_eq!(Window::decode(&sealed(fields), SEED), Err(WindowError::Damaged), "{what}");
    }
}

#[test]
fn the_largest_window_there_may_be_is_read_back() {
    let mut window = Window::default();
    for run in 0..MOST_RUNS as u64 {
        window.mark(place(u64::MAX, u64::MAX - 2 * run), MOST_RUNS);
    }
    assert_eq!(Window::decode(&window.encode(SEED), SEED), Ok(window));
}

/// Deliveries near each other, so that they repeat, leave holes, fill them, and use sequences again in other epochs.
fn deliveries() -> impl Strategy<Value = Vec<Place>> {
    prop::collection::vec((1..4_u64, 1..40_u64).prop_map(|(e, s)| place(e, s)), 0..200)
}

proptest! {
    #[test]
    fn without_forgetting_it_is_a_set_of_identities(deliveries in deliveries()) {
        let (mut window, mut model) = (Window::default(), HashSet::new());
        for delivery in deliveries {
            let seen = if model.contains(&delivery) { Seen::Yes } else { Seen::No };
            prop_assert_eq!(window.look(delivery), seen);
            window.mark(delivery, MOST_RUNS);
            model.insert(delivery);
        }
        for epoch in 0..5 {
            for sequence in 0..42 {
                let expected = if model.contains(&place(epoch, sequence)) { Seen::Yes } else { Seen::No };
                prop_assert_eq!(window.look(place(epoch, sequence)), expected);
            }
        }
    }

    #[test]
    fn with_a_bound_nothing_is_applied_twice_and_nothing_new_called_applied(
        deliveries in deliveries(),
        most in 1..6_usize,
    ) {
        let (mut window, mut applied) = (Window::default(), HashSet::new());
        for delivery in deliveries {
            match window.look(delivery) {
                Seen::No => {
                    prop_assert!(applied.insert(delivery), "{delivery:?} twice");
                    window.mark(delivery, most);
                }
                Seen::Yes => prop_assert!(applied.contains(&delivery), "{delivery:?} was never applied"),
                Seen::Forgotten(horizon) => prop_assert!(delivery <= horizon),
            }
            prop_assert!(window.runs.len() <= most);
            prop_assert_eq!(Window::decode(&window.encode(SEED), SEED), Ok(window.clone()));
        }
    }

    #[test]
    fn no_bytes_make_it_panic(fields in prop::collection::vec(0..5_u8, 0..16)) {
        let bytes = [&[1], &fields[..]].concat();
        if let Ok(window) = Window::decode(&sealed(&bytes), SEED) {
            prop_assert_eq!(window.encode(SEED), sealed(&bytes), "one spelling for each window");
        }
    }
}
