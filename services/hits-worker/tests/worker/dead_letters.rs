//! What can never be applied is put aside with its reason, and holds up nothing.

use redis::cmd;
use redis::streams::{StreamId, StreamRangeReply};
use serde_json::json;
use service_kit::testing::{call, request};
use uuid::Uuid;

use crate::stack::Stack;

const EVENT: &str = "0198c2a0-0000-7000-8000-000000000001";
const KEY: &str = "0b9d4c5e-7a51-4f0e-9f0f-5d2f3a1c7e55";

async fn dead_letters(stack: &Stack) -> Vec<StreamId> {
    let mut range = cmd("XRANGE");
    range.arg("hits:dead").arg("-").arg("+");
    let dead: StreamRangeReply = stack.redis(&range).await;
    dead.ids
}

#[tokio::test]
async fn each_fault_of_a_message_is_a_reason() {
    let Some(stack) = Stack::start().await else {
        return;
    };
    let no_value = "its field `value` is not an integer from 1 to 2^63 - 1";
    let cases: [(&[(&str, &str)], &str); 9] = [
        (&[("key", KEY), ("value", "1")], "it has no field `event`"),
        (&[("event", EVENT), ("value", "1")], "it has no field `key`"),
        (&[("event", EVENT), ("key", KEY)], "it has no field `value`"),
        (
            &[("event", "x"), ("key", KEY), ("value", "1")],
            "its field `event` is not a UUID",
        ),
        (
            &[("event", EVENT), ("key", "x"), ("value", "1")],
            "its field `key` is not a UUID",
        ),
        (&[("event", EVENT), ("key", KEY), ("value", "0")], no_value),
        (&[("event", EVENT), ("key", KEY), ("value", "-1")], no_value),
        (
            &[
                ("event", EVENT),
                ("key", KEY),
                ("value", "9223372036854775808"),
            ],
            no_value,
        ),
        (&[("nothing", "known")], "it has no field `value`"),
    ];
    for (fields, _) in cases {
        let fields = [fields, &[("request_id", "id-1")]].concat();
        stack.append(&fields).await;
    }
    let worker = stack.worker(100).await;
    stack.wait_for_empty_stream().await;
    let letters = dead_letters(&stack).await;
    assert_eq!(letters.len(), cases.len());
    for (letter, (fields, reason)) in letters.iter().zip(cases) {
        assert_eq!(letter.get::<String>("reason").unwrap(), reason);
        assert_eq!(letter.get::<String>("request_id").unwrap(), "id-1");
        let content: String = letter.get("message").unwrap();
        let content: serde_json::Value = serde_json::from_str(&content).unwrap();
        for (name, text) in fields {
            assert_eq!(content[name], *text, "{content}");
        }
        assert!(letter.get::<String>("id").unwrap().contains('-'));
    }
    assert_eq!(worker.metric("hits_dead_letters_total").await, 9.0);
}

#[tokio::test]
async fn a_sum_beyond_38_digits_is_one_too_with_its_request() {
    let Some(stack) = Stack::start().await else {
        return;
    };
    let worker = stack.worker(100).await;
    worker.wait_until_ready().await;
    // A sum that is at its limit: PostgreSQL refuses the data of its next increment.
    let full = Uuid::new_v4();
    let fill = format!("INSERT INTO hits VALUES ('{full}', 1e38 - 1)");
    let client = stack.postgres.connect().await;
    client.batch_execute(&fill).await.unwrap();

    let good = Uuid::new_v4();
    let mut event = String::new();
    for n in 1..=10 {
        assert!(stack.increment(good, n).await);
        if n == 5 {
            let body = json!({"key": full, "value": 1});
            let mut write = request("POST", "/increment", &body);
            write
                .headers_mut()
                .insert("x-request-id", "id-5".parse().unwrap());
            let answer = call(&stack.api, write).await.json();
            event = answer["event"].as_str().unwrap().to_owned();
        }
    }
    stack.wait_for_sum(good, 55).await;
    stack.wait_for_empty_stream().await;
    let letters = dead_letters(&stack).await;
    assert_eq!(letters.len(), 1);
    let field = |name: &str| letters[0].get::<String>(name).unwrap();
    assert!(
        field("reason").contains("numeric field overflow"),
        "{}",
        field("reason")
    );
    assert_eq!(field("request_id"), "id-5");
    let content: serde_json::Value = serde_json::from_str(&field("message")).unwrap();
    let expected = json!({"event": event, "key": full, "value": "1", "request_id": "id-5"});
    assert_eq!(content, expected);
}

#[tokio::test]
async fn bytes_that_are_no_text_are_one_too() {
    let Some(stack) = Stack::start().await else {
        return;
    };
    let mut add = cmd("XADD");
    add.arg("hits")
        .arg("*")
        .arg(&b"\xff"[..])
        .arg(&b"\xfe\x00"[..]);
    let _: String = stack.redis(&add).await;
    let key = Uuid::new_v4();
    assert!(stack.increment(key, 2).await);
    let _worker = stack.worker(100).await;
    stack.wait_for_sum(key, 2).await;
    stack.wait_for_empty_stream().await;
    assert_eq!(dead_letters(&stack).await.len(), 1);
}
