//! Damage to values in JSON: what is still JSON, but not what was written.

use serde_json::{Value, json};

use crate::Numbers;

/// A damaged copy of a JSON value: one to three values in it become others, go, come twice or change their names. One copy
/// in four has bytes changed instead.
pub fn json(whole: &[u8], numbers: &mut Numbers) -> Vec<u8> {
    match serde_json::from_slice(whole) {
        Ok(mut value) if numbers.below(4) > 0 => {
            for _ in 0..1 + numbers.below(3) {
                change(&mut value, numbers);
            }
            value.to_string().into_bytes()
        }
        _ => crate::bytes(whole, numbers),
    }
}

/// Changes one value, found by going down at random.
fn change(value: &mut Value, numbers: &mut Numbers) {
    let deeper = numbers.below(8) > 0;
    match value {
        Value::Object(fields) if deeper && !fields.is_empty() => {
            let key = fields.keys().nth(numbers.below(fields.len())).cloned().unwrap_or_default();
            match numbers.below(8) {
                0 => drop(fields.remove(&key)),
                1 => {
                    let moved = fields.remove(&key).unwrap_or_default();
                    fields.insert(key + "x", moved);
                }
                _ => fields.get_mut(&key).into_iter().for_each(|field| change(field, numbers)),
            }
        }
        Value::Array(items) if deeper && !items.is_empty() => {
            let at = numbers.below(items.len());
            match numbers.below(8) {
                0 => drop(items.remove(at)),
                1 => items.insert(at, items[at].clone()),
                2 => items.reverse(),
                _ => change(&mut items[at], numbers),
            }
        }
        _ => *value = other(value, numbers),
    }
}

/// Another value: as a rule of the same kind, at the limits of what it may be.
fn other(value: &Value, numbers: &mut Numbers) -> Value {
    let extreme = [
        json!(0),
        json!(1),
        json!(-1),
        json!(u64::MAX),
        json!(u64::MAX - 1),
        json!(i64::MAX),
        json!(i64::MIN),
        json!(1u64 << 32),
        json!(1u64 << 40),
        json!(1u64 << 53),
        json!(1e308),
        json!(-0.5),
    ];
    let text = value.as_str().unwrap_or_default();
    let texts = [
        String::new(),
        "../../x".into(),
        "/".into(),
        "\0".into(),
        "a\nb".into(),
        format!("{text}{text}"),
        text.chars().rev().collect(),
        "x".repeat(100_000),
    ];
    match (value, numbers.below(6)) {
        (Value::Number(_), 0..5) => extreme[numbers.below(extreme.len())].clone(),
        (Value::String(_), 0..5) => texts[numbers.below(texts.len())].clone().into(),
        _ => match numbers.below(7) {
            0 => Value::Null,
            1 => json!({}),
            2 => json!([]),
            3 => json!([value, value]),
            4 => json!(!value.as_bool().unwrap_or_default()),
            5 => extreme[numbers.below(extreme.len())].clone(),
            _ => texts[numbers.below(texts.len())].clone().into(),
        },
    }
}
