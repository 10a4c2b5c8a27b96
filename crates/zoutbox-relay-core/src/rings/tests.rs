use super::*;

const SHARE: ShareId = ShareId::from_bytes([7; 16]);

fn ring(writer: &str) -> Vec<u8> {
    doorbell::encode(SHARE, &WriterId::new(writer).expect("valid")).to_vec()
}

fn ms(milliseconds: u64) -> Duration {
    Duration::from_millis(milliseconds)
}

/// Knows `a` as lane 0 and `b` as lane 1.
fn rings() -> Rings {
    let mut rings = Rings::new(SHARE);
    for (lane, writer) in ["a", "b"].into_iter().enumerate() {
        rings.know(WriterId::new(writer).expect("valid"), lane);
    }
    rings
}

fn lanes(rings: &mut Rings, now: Duration) -> Vec<usize> {
    rings.take_lanes(now).collect()
}

#[test]
fn a_ring_is_answered_at_once_and_what_comes_within_the_pause_together_after_it() {
    let mut rings = rings();
    assert_eq!(rings.due(), None);
    assert!(rings.hear(&ring("a")), "the first one wakes");
    assert_eq!((rings.due(), lanes(&mut rings, ms(50))), (Some(Duration::ZERO), vec![0]));
    assert_eq!(rings.due(), None);

    assert!(rings.hear(&ring("b")), "and so does the first one afterwards");
    assert!(!rings.hear(&ring("a")) && !rings.hear(&ring("b")), "the others do not");
    assert_eq!(rings.due(), Some(ms(51)));
    assert!(lanes(&mut rings, ms(50) + Duration::from_micros(999)).is_empty(), "too soon");
    assert_eq!(lanes(&mut rings, ms(51)), [1, 0], "each once");
    assert!(lanes(&mut rings, ms(99)).is_empty());
}

#[test]
fn a_flood_of_rings_looks_at_each_lane_once_a_pause_and_wakes_once_an_answer() {
    let mut rings = rings();
    let (mut looks, mut wakes) = ([0; 2], 0);
    for number in 0..1_000_000_u64 {
        let now = Duration::from_micros(number);
        wakes += u64::from(rings.hear(&ring(if number % 2 == 0 { "a" } else { "b" })));
        if rings.due().is_some_and(|due| due <= now) {
            for lane in rings.take_lanes(now) {
                looks[lane] += 1;
            }
        }
    }
    assert!(looks.iter().all(|looks| *looks <= 1001) && wakes <= 1001, "{looks:?} {wakes}");
    assert!(looks.iter().all(|looks| *looks > 900), "none of them is starved: {looks:?}");
    assert!(rings.rung.capacity() < 10, "nothing piles up");
}

#[test]
fn unknown_writers_cost_a_look_every_pause_and_the_last_one_is_never_left_out() {
    let mut rings = rings();
    let mut looks = Vec::new();
    for number in 0..10_000 {
        let now = ms(number / 10);
        rings.hear(&ring(&format!("stranger-{number}")));
        if rings.take_stranger(now) {
            looks.push(now);
        }
    }
    assert_eq!(looks.len(), 10);
    assert!(looks.windows(2).all(|two| two[0] + STRANGER_PAUSE <= two[1]));
    let due = rings.due().expect("the last one waits");
    assert!(due > ms(999) && !rings.take_stranger(ms(999)) && rings.take_stranger(due));
    assert_eq!((rings.due(), rings.take_stranger(due + ms(1000))), (None, false));
    assert!(lanes(&mut rings, ms(5000)).is_empty(), "no lane was rung for");
    assert_eq!(rings.lanes.len(), 2, "nobody becomes known by ringing");
}

#[test]
fn unknown_writers_hold_no_known_one_up() {
    let mut rings = rings();
    assert!(rings.hear(&ring("stranger")) && rings.take_stranger(ms(10)));
    assert!(rings.hear(&ring("stranger")));
    assert_eq!(rings.due(), Some(ms(110)));
    assert!(rings.hear(&ring("a")), "who sleeps until then is woken");
    assert_eq!(rings.due(), Some(Duration::ZERO));
    assert_eq!((lanes(&mut rings, ms(11)), rings.take_stranger(ms(11))), (vec![0], false));
    assert_eq!(rings.due(), Some(ms(110)), "it still waits");
}

#[test]
fn what_is_no_ring_of_this_share_wakes_nobody() {
    let mut rings = rings();
    let other = doorbell::encode(ShareId::from_bytes([8; 16]), &WriterId::new("a").expect("valid"));
    let (good, mut bad) = (ring("a"), ring("a"));
    bad[40] ^= 1;
    let zeros = vec![0; 65_507];
    for datagram in [&other[..], &bad, &good[1..], &[], &zeros, &[&good[..], &[0]].concat()] {
        assert!(!rings.hear(datagram));
    }
    assert_eq!((rings.due(), rings.counts()), (None, (0, 6)));
    assert!(rings.hear(&good));
    assert_eq!(rings.counts(), (1, 6));
}

#[test]
fn a_writer_that_becomes_known_has_its_lane_from_then_on() {
    let mut rings = Rings::new(SHARE);
    assert!(rings.hear(&ring("late")) && rings.take_stranger(ms(1)));
    rings.know(WriterId::new("late").expect("valid"), 5);
    assert!(rings.hear(&ring("late")));
    assert_eq!((lanes(&mut rings, ms(1)), rings.take_stranger(ms(500))), (vec![5], false));
}
