//! Messages that nobody should send, and messages that come too early or too late.

use std::fs;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use lapin::BasicProperties;
use lapin::types::{AMQPValue, FieldTable};
use zoutbox_consumer::{HeaderValue, Message, Observer, Resolver, ResolverOptions};
use zoutbox_format::{Record, SegmentId, WriterId};
use zoutbox_test_support::{Fault, Hits, wait_until};

use crate::queue::{LONG, Queue, header, id, properties, text};
use crate::running::{Running, Script, inline, names};
use crate::share::{self, TIME, carry};
use crate::stores::{Ground, Sqlite};

/// Counts what goes back to the broker.
#[derive(Debug, Clone, Default)]
struct GivenBack(Arc<AtomicUsize>);

impl Observer for GivenBack {
    fn delivered(&mut self, _: u64, _: &WriterId, _: Option<SegmentId>) {}

    fn acked(&mut self, _: u64) {}

    fn returned(&mut self, _: u64) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }

    fn parked(&mut self, _: &WriterId, _: Option<SegmentId>) {}

    fn unparked(&mut self, _: &WriterId, _: Option<SegmentId>) {}

    fn lost(&mut self) {}

    fn tick(&mut self, _: Option<bool>) {}
}

/// Messages that are no record's, with what is said of them.
fn bad(share: &share::Ground) -> Vec<(Message, &'static str)> {
    let sealed = share.draft("orders", 1, 1).records(&share::varied(3)).seal();
    share.lay(&sealed, true);
    let good = carry(&sealed.pointer(0..1));
    let changed = |change: &dyn Fn(&mut Message)| {
        let mut message = good.clone();
        change(&mut message);
        message
    };
    let mut crc = sealed.pointer(0..1);
    crc.crc ^= 1;
    let mut long = sealed.pointer(0..1);
    long.length = 16_908_316;
    let mut other = sealed.pointer(0..1);
    other.share = "ffffffffffffffffffffffffffffffff".parse().unwrap();
    let number = HeaderValue::Integer(7);
    vec![
        (
            Message { topic: "foreign".into(), body: b"hello".to_vec(), ..Message::default() },
            "zoutbox-writer is missing",
        ),
        (changed(&|message| message.body.truncate(20)), "orders/1/1"),
        (changed(&|message| message.body.clear()), "orders/1/1"),
        (changed(&|message| message.message_id = Some("orders/1/2".into())), "message_id"),
        (
            changed(&|message| drop(message.headers.insert("zoutbox-writer".into(), number.clone()))),
            "zoutbox-writer",
        ),
        (
            changed(&|message| {
                message.headers.insert("zoutbox-writer".into(), HeaderValue::Text("../../etc".into()));
            }),
            "zoutbox-writer",
        ),
        (changed(&|message| message.content_type = None), "content type"),
        (carry(&crc), "CRC"),
        (carry(&long), "bytes"),
        (carry(&other), "share"),
    ]
}

#[test]
fn forged_truncated_and_foreign_messages_are_parked_as_they_came_and_stop_nobody() {
    let (ground, share) = (Arc::new(Sqlite::new()), share::ground());
    let (queue, script) = (Queue::new("bad"), Script::default());
    let bad = bad(&share);
    let all: Vec<Message> = bad.iter().map(|(message, _)| message.clone()).collect();
    queue.publish(&all);
    let mut last = inline("later/1/1", None);
    last.headers.insert("zoutbox-share".into(), HeaderValue::Text(share.share.to_string()));
    queue.publish(&[last]);
    let running = Running::start(&ground, queue.options(), share.resolver(), &script);
    script.wait_for_applied(1);
    queue.settles_at(0, u32::try_from(bad.len()).unwrap());
    assert!(running.is_running());
    let summary = running.stop();
    assert_eq!((summary.applied, summary.parked), (1, bad.len() as u64));
    assert_eq!(ground.effects(), ["later/1/1"]);
    let parked = queue.take_parked();
    for ((message, said), parked) in bad.iter().zip(&parked) {
        let reason = header(parked, "zoutbox-parked-reason");
        assert!(reason.contains(said), "no {said:?} in {reason:?}");
        assert_eq!(header(parked, "zoutbox-parked-topic"), message.topic);
        assert_eq!(
            (&parked.data, id(parked)),
            (&message.body, message.message_id.clone().unwrap_or_default())
        );
        let kept = parked.properties.headers().clone().unwrap_or_default();
        let sent = properties(message).headers().clone().unwrap_or_default();
        assert!(sent.inner().iter().all(|(name, value)| kept.inner().get(name) == Some(value)), "{reason}");
    }
    Fault::new(
        "consumer",
        Hits::Bytes,
        "forged, truncated and foreign messages",
        "in the queue, one of each kind",
    )
    .held(bad.len(), "parked as they came, with the reason; the next message was applied");
}

#[test]
fn what_is_parked_is_neither_copied_elsewhere_nor_forgotten() {
    let (ground, queue, script) = (Arc::new(Sqlite::new()), Queue::new("copied"), Script::default());
    let elsewhere = Queue::new("elsewhere");
    let mut headers = FieldTable::default();
    let copies = vec![AMQPValue::LongString("elsewhere".into())];
    headers.insert("CC".into(), AMQPValue::FieldArray(copies.into()));
    headers.insert("mine".into(), text("x"));
    let properties = BasicProperties::default().with_headers(headers).with_expiration("3600000".into());
    queue.publish_raw(vec![("topic".into(), properties, b"foreign".to_vec())]);
    let running = Running::start(&ground, queue.options(), crate::running::inline_resolver(), &script);
    queue.settles_at(0, 1);
    running.stop();
    // The copy that the exchange made of the first one would be in a queue whose key is bound: there is none.
    assert_eq!(elsewhere.count_of("elsewhere"), 0);
    let parked = queue.take_parked();
    assert_eq!((header(&parked[0], "mine"), parked[0].properties.expiration()), ("x".to_owned(), &None));
}

#[test]
fn what_was_removed_is_parked_and_says_so() {
    let (ground, share) = (Arc::new(Sqlite::new()), share::ground());
    let (queue, script) = (Queue::new("expired"), Script::default());
    let first = share.draft("orders", 1, 1).records(&share::varied(2)).seal();
    let second = share.draft("orders", 1, 3).records(&share::varied(2));
    let path = share.lay(&first, true);
    share.lay(&second, false);
    fs::remove_file(path).unwrap();
    queue.publish(&[carry(&first.pointer(0..2)), carry(&second.pointer(0..2))]);
    let running = Running::start(&ground, queue.options(), share.resolver(), &script);
    queue.settles_at(0, 1);
    script.wait_for_applied(2);
    running.stop();
    assert_eq!(ground.effects(), names(3..=4));
    let parked = queue.take_parked();
    assert!(header(&parked[0], "zoutbox-parked-reason").contains("was removed"));
    assert_eq!(parked[0].data, first.pointer(0..2).encode(), "whole, as it came");
}

/// A broker that crashes may lose an acknowledgement that the consumer relied on when it let go of the segment.
#[test]
fn what_was_removed_after_all_of_it_was_applied_is_a_duplicate() {
    let (ground, share) = (Arc::new(Sqlite::new()), share::ground());
    let (queue, script) = (Queue::new("expired-duplicate"), Script::default());
    let first = share.draft("orders", 1, 1).records(&share::varied(4)).seal();
    let second = share.draft("orders", 1, 5).records(&share::varied(2));
    let path = share.lay(&first, true);
    share.lay(&second, false);
    queue.publish(&[carry(&first.pointer(0..3))]);
    let running = Running::start(&ground, queue.options(), share.resolver(), &script);
    script.wait_for_applied(3);
    queue.settles_at(0, 0);
    running.stop();
    fs::remove_file(path).unwrap();
    queue.publish(&[carry(&first.pointer(0..3)), carry(&first.pointer(1..2)), carry(&first.pointer(2..4))]);
    let running = Running::start(&ground, queue.options(), share.resolver(), &script);
    queue.settles_at(0, 1);
    let summary = running.stop();
    assert_eq!((summary.applied, summary.duplicates, summary.parked), (0, 4, 1));
    assert_eq!(queue.take_parked()[0].data, first.pointer(2..4).encode(), "the fourth was never applied");
}

#[test]
fn what_this_host_does_not_show_yet_goes_back_and_comes_again_in_order_while_others_go_on() {
    let (ground, share) = (Arc::new(Sqlite::new()), share::ground());
    let (queue, script) = (Queue::new("not-yet"), Script::default());
    let records = share::varied(6);
    let late = share.draft("orders", 1, 1).records(&records);
    let there = share.draft("others", 1, 1).records(&records);
    share.lay(&there, false);
    let mut messages = Vec::new();
    for index in (0..6).step_by(2) {
        messages.push(carry(&late.pointer(index..index + 2)));
        messages.push(carry(&there.pointer(index..index + 2)));
    }
    queue.publish(&messages);
    let mut options = queue.options();
    options.not_yet_limit = Duration::from_millis(700);
    let back = GivenBack::default();
    let observer: Box<dyn Observer + Send> = Box::new(back.clone());
    let running = Running::observed(&ground, options, share.resolver(), &script, Some(observer));
    script.wait_for_applied(6);
    assert!(script.applied().iter().all(|id| id.starts_with("others/")));
    // So long that it has been given back, more than once.
    std::thread::sleep(Duration::from_millis(2_500));
    wait_until("it has been given back again and again", LONG, || back.0.load(Ordering::SeqCst) >= 3);
    share.lay(&late, false);
    script.wait_for_applied(12);
    queue.settles_at(0, 0);
    let summary = running.stop();
    assert!(summary.returned >= 3, "{summary:?}");
    assert_eq!(script.applied()[6..], names(1..=6));
    assert_eq!((summary.applied, summary.parked), (12, 0));
}

#[test]
fn a_share_that_can_not_be_read_is_waited_for_and_nothing_is_acknowledged() {
    let (ground, share) = (Arc::new(Sqlite::new()), share::ground());
    let (queue, script) = (Queue::new("no-share"), Script::default());
    let path = share.append("orders", &[Record::new("topic", "x").timestamp_ms(TIME)]);
    queue.publish(&[carry(&share::point_at(&path, 0..1))]);
    // A consumer where the share is not mounted.
    let resolver = Resolver::inline_only(Some(share.share));
    let running = Running::start(&ground, queue.options(), resolver, &script);
    wait_until("it is in hand", LONG, || queue.count_of(&queue.name) == 0);
    std::thread::sleep(Duration::from_millis(700));
    assert!(running.is_running());
    let summary = running.stop();
    assert_eq!((summary.applied, summary.parked), (0, 0));
    queue.settles_at(1, 0);
    // Where it is, the message is applied.
    let resolver = Resolver::open(&*share.root, ResolverOptions::default()).unwrap();
    let running = Running::start(&ground, queue.options(), resolver, &script);
    script.wait_for_applied(1);
    running.stop();
    Fault::new(
        "consumer",
        Hits::Share,
        "it is not mounted where a consumer runs",
        "a resolver without a share",
    )
    .held(1, "waited for; nothing was acknowledged meanwhile");
}
