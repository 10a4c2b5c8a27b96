use proptest::collection::{btree_map, vec};
use proptest::option;
use proptest::prelude::*;
use zoutbox_format::ShareId;

use super::*;

fn id(number: u64) -> SegmentId {
    SegmentId { epoch: Epoch::new(1 + number / 4), first_sequence: Sequence::new(1 + number) }
}

fn name(text: &str) -> WriterId {
    WriterId::new(text).expect("valid")
}

fn consumer(group: &str, writers: BTreeMap<WriterId, Place>) -> Progress {
    let (share, group) = (ShareId::from_bytes([1; 16]), name(group));
    Progress { share, group, updated_ms: 0, interval_ms: 1000, limit_ms: 1000, writers }
}

fn at(passed: Option<u64>, open: Option<u64>, parked: &[u64]) -> Place {
    let parked = parked.iter().map(|number| id(*number)).collect();
    Place { passed: passed.map(id), open: open.map(id), parked }
}

fn needs(consumers: &[Progress]) -> Needs {
    let mut needs = Needs::nothing();
    for consumer in consumers {
        needs.add(consumer);
    }
    needs
}

/// Which of the segments 0 to 9 of `orders` are needed.
fn needed(consumers: &[Progress]) -> Vec<u64> {
    let need = needs(consumers).of(&name("orders"));
    (0..10).filter(|number| need.needs(id(*number))).collect()
}

fn orders(group: &str, place: Place) -> Progress {
    consumer(group, [(name("orders"), place)].into())
}

#[test]
fn a_consumer_needs_from_what_is_open_on_else_from_what_it_passed_else_everything() {
    let all: Vec<u64> = (0..10).collect();
    assert_eq!(needed(&[]), [0; 0]);
    assert_eq!(
        needed(&[orders("g", at(Some(7), Some(8), &[]))]),
        [8, 9],
        "the delivery that is open is later"
    );
    assert_eq!(needed(&[orders("g", at(Some(7), Some(5), &[]))]), [5, 6, 7, 8, 9]);
    assert_eq!(needed(&[orders("g", at(Some(7), None, &[]))]), [7, 8, 9]);
    assert_eq!(needed(&[orders("g", at(Some(7), None, &[2, 4]))]), [2, 4, 7, 8, 9]);
    assert_eq!(needed(&[orders("g", Place::default())]), all);
    assert_eq!(needed(&[consumer("g", BTreeMap::new())]), all, "it has not met this writer");
}

#[test]
fn what_one_of_a_group_acknowledged_no_other_gets_but_what_is_open_is_whosever_it_is() {
    let (ahead, behind) = (at(Some(8), None, &[]), at(Some(3), None, &[1]));
    assert_eq!(needed(&[orders("g", ahead.clone()), orders("g", behind.clone())]), [1, 8, 9]);
    assert_eq!(needed(&[orders("g", ahead.clone()), orders("h", behind)]), [1, 3, 4, 5, 6, 7, 8, 9]);
    let open = at(Some(3), Some(6), &[]);
    assert_eq!(needed(&[orders("g", ahead.clone()), orders("g", open)]), [6, 7, 8, 9]);
    assert_eq!(needed(&[orders("g", ahead), orders("g", Place::default())]), [8, 9]);
}

#[test]
fn a_consumer_of_which_nothing_is_known_needs_everything() {
    let mut all = needs(&[orders("g", at(Some(7), None, &[]))]);
    all.hold_everything();
    assert!(all.of(&name("orders")).is_everything() && all.of(&name("other")).is_everything());
}

#[test]
fn the_lowest_is_told_whether_it_is_parked_or_not_and_singles_are_only_those_in_front() {
    let need = needs(&[orders("g", at(Some(7), None, &[2, 8]))]).of(&name("orders"));
    assert_eq!((need.from(), need.lowest()), (Some(id(7)), Some(id(2))));
    assert_eq!(need.single().collect::<Vec<_>>(), [id(2)]);
    assert_eq!(Need::nothing().lowest(), None);
}

fn place() -> impl Strategy<Value = Place> {
    let one = || option::of(0..12_u64);
    (one(), one(), vec(0..12_u64, 0..3)).prop_map(|(passed, open, parked)| at(passed, open, &parked))
}

fn some_consumers() -> impl Strategy<Value = Vec<Progress>> {
    let writers = btree_map("[ab]".prop_map(|text| name(&text)), place(), 0..3);
    vec(("[gh]", writers).prop_map(|(group, writers)| consumer(&group, writers)), 0..6)
}

/// The sentence of FORMAT.md, as it stands there.
fn model(consumers: &[Progress], writer: &WriterId, segment: SegmentId) -> bool {
    let groups: BTreeSet<_> = consumers.iter().map(|consumer| &consumer.group).collect();
    groups.into_iter().any(|group| {
        let members = consumers.iter().filter(|consumer| consumer.group == *group);
        let places: Vec<_> = members.filter_map(|member| member.writers.get(writer)).collect();
        let parked = places.iter().any(|place| place.parked.contains(&segment));
        let open = places.iter().filter_map(|place| place.open).min();
        let passed = places.iter().filter_map(|place| place.passed).max();
        parked || segment >= open.or(passed).unwrap_or(id(0))
    })
}

proptest! {
    #[test]
    fn exactly_what_the_format_says_is_needed(consumers in some_consumers(), number in 0..12_u64) {
        for writer in ["a", "b", "c"].map(name) {
            let need = needs(&consumers).of(&writer);
            prop_assert_eq!(need.needs(id(number)), model(&consumers, &writer, id(number)));
            let lowest = (0..12).map(id).find(|id| need.needs(*id));
            prop_assert!(need.lowest() <= lowest || lowest.is_none(), "{:?} {:?}", need, lowest);
        }
    }

    #[test]
    fn the_order_in_which_they_are_read_makes_no_difference(consumers in some_consumers()) {
        let reversed: Vec<_> = consumers.iter().rev().cloned().collect();
        prop_assert_eq!(needs(&consumers), needs(&reversed));
    }

    #[test]
    fn another_group_never_makes_less_needed(consumers in some_consumers(), more in place(), number in 0..12_u64) {
        let mut larger = consumers.clone();
        larger.push(consumer("another", [(name("a"), more)].into()));
        let (before, after) = (needs(&consumers).of(&name("a")), needs(&larger).of(&name("a")));
        prop_assert!(!before.needs(id(number)) || after.needs(id(number)));
    }
}
