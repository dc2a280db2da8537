//! Row 14: JSON.

use standoff_protocol::stream::Role;

use crate::json_said;
use crate::support::serve;

#[tokio::test]
async fn row_14_json_ids_are_hexadecimal_in_either_case() {
    assert!(json_said(r#""spanId":"ABCDEFabcdef0123""#).await.is_ok());
    for invalid in ["YWJjZGVmZ2g=", "0202020202020g02", "02"] {
        let answer = json_said(&format!(r#""spanId":"{invalid}""#)).await.unwrap_err();
        assert_eq!(answer.status, 200, "only the span is rejected");
        assert_eq!(answer.json()["partialSuccess"]["rejectedSpans"], "1", "{invalid}");
    }
}

#[tokio::test]
async fn row_14_json_enums_are_numbers_only() {
    assert_eq!(json_said(r#""kind":3"#).await.unwrap().1, Role::Call);
    for name in [r#""SPAN_KIND_CLIENT""#, r#""3""#, "[]"] {
        let answer = json_said(&format!(r#""kind":{name}"#)).await.unwrap_err();
        assert_eq!(answer.status, 400, "{name}");
    }
    let answer = json_said(r#""status":{"code":"STATUS_CODE_OK"}"#).await.unwrap_err();
    assert_eq!(answer.status, 400);
}

#[tokio::test]
async fn row_14_json_keys_are_camel_case_and_unknown_ones_ignored() {
    let (_, _, start, is_open) = json_said(r#""startTimeUnixNano":"7","end_time_unix_nano":"8","more":{"a":[1,{}]}"#)
        .await
        .unwrap();
    assert_eq!((start, is_open), (7, true), "a key in snake case is unknown");
}

#[tokio::test]
async fn row_14_json_integers_are_texts_or_numbers() {
    for number in ["1795247863856634930", r#""1795247863856634930""#] {
        let start = json_said(&format!(r#""startTimeUnixNano":{number}"#)).await.unwrap().2;
        assert_eq!(start, 1_795_247_863_856_634_930);
    }
    assert_eq!(json_said(r#""startTimeUnixNano":1.5e1"#).await.unwrap().2, 15);
    for nonsense in [r#""soon""#, "1.5", "-1", r#""99999999999999999999""#, "true"] {
        let answer = json_said(&format!(r#""startTimeUnixNano":{nonsense}"#))
            .await
            .unwrap_err();
        assert_eq!(answer.status, 400, "{nonsense}");
    }
}

#[tokio::test]
async fn row_14_json_null_is_absence_for_every_field() {
    let all = [
        "parentSpanId",
        "name",
        "kind",
        "startTimeUnixNano",
        "endTimeUnixNano",
        "attributes",
        "status",
        "flags",
    ];
    let fields: Vec<String> = all.iter().map(|field| format!(r#""{field}":null"#)).collect();
    let (_, role, start, is_open) = json_said(&fields.join(",")).await.unwrap();
    assert_eq!((role, start, is_open), (Role::Structural, 0, true));
    let served = serve().await;
    for body in [
        r#"{"resourceSpans":null}"#,
        r#"{"resourceSpans":[{"resource":null,"scopeSpans":null}]}"#,
        r#"{"resourceSpans":[{"resource":{"attributes":[{"key":"service.name","value":null}]}}]}"#,
    ] {
        assert_eq!(served.post_json(body).await.status, 200, "{body}");
    }
}

#[tokio::test]
async fn row_14_json_values_of_every_kind() {
    let value = |value: &str| format!(r#""attributes":[{{"key":"standoff.units","value":{value}}}]"#);
    for fine in [
        r#"{"doubleValue":"NaN"}"#,
        r#"{"doubleValue":"-Infinity"}"#,
        r#"{"doubleValue":"1.5"}"#,
        r#"{"doubleValue":1}"#,
        r#"{"intValue":7}"#,
        r#"{"intValue":"7"}"#,
        r#"{"intValue":7.0}"#,
        r#"{"boolValue":true}"#,
        r#"{"bytesValue":"aGk="}"#,
        r#"{"arrayValue":{}}"#,
        r#"{"arrayValue":{"values":[{"intValue":1},{"arrayValue":{"values":[]}}]}}"#,
        r#"{"kvlistValue":{"values":[{"key":"a","value":{}}]}}"#,
        r#"{"stringValue":"escaped \u00e4 \n"}"#,
        "{}",
        "null",
    ] {
        assert!(json_said(&value(fine)).await.is_ok(), "{fine}");
    }
    let answer = json_said(&value(r#"{"intValue":"many"}"#)).await.unwrap_err();
    assert_eq!(answer.status, 400);
}

#[tokio::test]
async fn row_14_json_an_empty_end_is_none() {
    for (end, is_open) in [(r#""""#, true), (r#""0""#, true), ("0", true), (r#""1""#, false)] {
        let read = json_said(&format!(r#""endTimeUnixNano":{end}"#)).await.unwrap();
        assert_eq!(read.3, is_open, "{end}");
    }
}
