use std::convert::Infallible;

use super::*;

mod fractions;

fn computed(text: &str, row: &[(&str, &str)], previous: Option<&[(&str, &str)]>) -> String {
    let expression = Expression::parse(text).unwrap_or_else(|wrong| panic!("{text}: {wrong:?}"));
    let find = |fields: &[(&str, &str)], field: &Field| {
        let name = field.path.join(".");
        fields.iter().find(|(known, _)| *known == name).map(|(_, text)| (*text).to_owned())
    };
    let fields: Vec<(Field, Option<String>)> = expression
        .fields()
        .map(|field| {
            let found = match field.is_previous {
                true => previous.and_then(|previous| find(previous, field)),
                false => find(row, field),
            };
            (field.clone(), found)
        })
        .collect();
    let text = |field: &Field| {
        let found = fields.iter().find(|(known, _)| known == field);
        Ok::<_, Infallible>(found.and_then(|(_, text)| text.as_deref()))
    };
    expression.evaluate(text).unwrap()
}

fn wrong(text: &str) -> String {
    let ExpressionError { what, hint } = Expression::parse(text).expect_err(text);
    format!("{what}; {hint}")
}

const ROW: [(&str, &str); 8] = [
    ("date", "\"2025-01-31\""),
    ("close", "190.50"),
    ("open", "\"189.25\""),
    ("volume", "1.10e3"),
    ("nothing", "null"),
    ("flag", "true"),
    ("ohlc.high", "191"),
    ("4. close", "7"),
];
const BEFORE: [(&str, &str); 2] = [("close", "127.00"), ("zero", "0.00")];

#[test]
fn a_field_alone_is_copied_as_the_document_writes_it() {
    for (text, wanted) in [
        ("close", "190.50"),
        (" volume ", "1.10e3"),
        ("(date)", "\"2025-01-31\""),
        ("open", "\"189.25\""),
        ("flag", "true"),
        ("ohlc . high", "191"),
        ("`4. close`", "7"),
        ("previous.close", "127.00"),
        ("nothing", "null"),
        ("absent", "null"),
        ("previous.absent", "null"),
    ] {
        assert_eq!(computed(text, &ROW, Some(&BEFORE)), wanted, "{text}");
    }
}

#[test]
fn arithmetic_is_decimal_and_binds_as_it_is_written_everywhere() {
    for (text, wanted) in [
        ("close - previous.close", "63.5"),
        ("round((close - previous.close) / previous.close * 100, 2)", "50"),
        ("round((previous.close - close) / close * 100, 2)", "-33.33"),
        ("close + open", "379.75"),
        ("close + open * 2 - 1", "568"),
        ("(close + open) * 2", "759.5"),
        ("close - 1 - 1", "188.5"),
        ("volume / 11 / 10", "10"),
        ("-close + 1", "-189.5"),
        ("--close", "190.5"),
        ("2 * -close", "-381"),
        ("close - close", "0"),
        ("-(close - close)", "0"),
        ("0.1 + 0.2 + 0 * close", "0.3"),
        ("abs(previous.close - close)", "63.5"),
        ("min(close, open, ohlc.high)", "189.25"),
        ("max(close, open, ohlc.high)", "191"),
        ("round(close / 3, 0)", "64"),
        ("round(close - 190, 0)", "1"),
        ("round(190 - close, 0)", "-1"),
        ("round (close, 28)", "190.5"),
        ("`4. close` * 2", "14"),
    ] {
        assert_eq!(computed(text, &ROW, Some(&BEFORE)), wanted, "{text}");
    }
}

#[test]
fn where_there_is_no_number_there_is_null() {
    for text in [
        "absent + 1",
        "1 + nothing",
        "date - 1",
        "flag * 2",
        "close / (close - close)",
        "close / previous.zero",
        "round(absent, 2)",
        "max(close, absent)",
        "-absent",
        "close + ohlc",
        "close * 79228162514264337593543950335",
    ] {
        assert_eq!(computed(text, &ROW, Some(&BEFORE)), "null", "{text}");
    }
    assert_eq!(computed("close - previous.close", &ROW, None), "null", "the first row has none before it");
    assert_eq!(computed("previous.close", &ROW, None), "null");
}

#[test]
fn numbers_are_read_digit_by_digit_or_not_at_all() {
    for (text, wanted) in [
        ("12.30", Some("12.3")),
        ("\"12.30\"", Some("12.3")),
        ("-0.0", Some("0")),
        ("0", Some("0")),
        ("1e2", Some("100")),
        ("1.5E+3", Some("1500")),
        ("25e-28", Some("0.0000000000000000000000000025")),
        ("1e-28", Some("0.0000000000000000000000000001")),
        ("10e-29", Some("0.0000000000000000000000000001")),
        ("79228162514264337593543950335", Some("79228162514264337593543950335")),
        ("79228162514264337593543950336", None),
        ("1e-29", None),
        ("1e29", None),
        ("1e9999", None),
        ("1e99999", None),
        ("0.10000000000000000000000000001", None),
        ("0.1000000000000000055511151231257827", None),
        ("\"\"", None),
        ("\"", None),
        ("\" 1\"", None),
        ("\"1_000\"", None),
        ("\"1,000\"", None),
        ("\"+1\"", None),
        ("\"01\"", None),
        ("\"1.\"", None),
        ("\".5\"", None),
        ("\"NaN\"", None),
        ("\"Infinity\"", None),
        ("\"1e\"", None),
        ("\"0x10\"", None),
        ("\"\\u0031\"", None),
        ("[1]", None),
        ("{}", None),
        ("", None),
    ] {
        let read = decimal::of_json(text).map(|number| number.normalize().to_string());
        assert_eq!(read.as_deref(), wanted, "{text}");
    }
}

#[test]
fn problems_are_reported_with_a_hint() {
    for (text, part) in [
        ("", "the expression is empty"),
        ("   ", "the expression is empty"),
        ("roud(close, 2)", "there is no function `roud`; did you mean `round`?"),
        ("sum(close)", "there are round, abs, min, max"),
        ("previos.close - close", "`previos` is not the row before; did you mean `previous`?"),
        ("prev.close", "did you mean `previous`?"),
        ("Previous.close", "did you mean `previous`?"),
        ("previous", "does not say which of its fields"),
        ("previous - 1", "does not say which of its fields"),
        ("previous.", "a name is missing at the end"),
        ("close -", "a field or a number is missing at the end"),
        ("close - * 2", "`*` does not belong before `* 2`"),
        ("close close", "`c` does not belong before `close`"),
        ("close (2)", "there is no function `close`"),
        ("2 (close)", "a `*` between the two"),
        ("(close", "a `)` is missing at the end"),
        ("close)", "`)` does not belong"),
        ("round(close)", "does not say to how many digits"),
        ("round(close, x)", "cannot round to `x` digits"),
        ("round(close, 29)", "from 0 to 28"),
        ("round(close, -1)", "cannot round to `-1` digits"),
        ("round(close, 2.5)", "cannot round"),
        ("round(close, 2, 3)", "a `)` is missing before `, 3)`"),
        ("min(close)", "`min` has 1 operands; give it 2 to 8"),
        ("min()", "`)` does not belong"),
        ("abs(close, 1)", "a `)` is missing"),
        ("close / 0", "divides by zero"),
        ("close / 0.00", "divides by zero"),
        ("1 + 2", "names no field"),
        ("close * 1e5", "`1e5` is no number"),
        ("close * 1.", "`1.` is no number"),
        ("4close", "`4close` is no number"),
        ("close ^ 2", "`^` does not belong"),
        ("close % 2", "`%` does not belong"),
        ("close; close", "`;` does not belong"),
        ("\"close\"", "between backticks"),
        ("`close", "no other one to end its name"),
        ("``", "too short or too long"),
        ("é", "`é` does not belong"),
        ("a.b.c.d.e.f.g.h.i", "more than 8 names"),
    ] {
        assert!(wrong(text).contains(part), "{text}: {}", wrong(text));
    }
    assert_eq!(computed("`previos`.close", &[("previos.close", "1")], None), "1", "a field may be called anything");
    assert_eq!(computed("`previous`", &[("previous", "1")], None), "1");
    assert_eq!(computed("round - min", &[("round", "3"), ("min", "1")], None), "2");
}

#[test]
fn expressions_are_bounded_in_length_depth_and_steps() {
    let nested = |depth: usize| format!("{}close{}", "(".repeat(depth), ")".repeat(depth));
    assert!(Expression::parse(&nested(DEEPEST)).is_ok());
    assert!(wrong(&nested(DEEPEST + 1)).contains("inside each other"));
    assert!(Expression::parse(&format!("{}a", "-".repeat(DEEPEST))).is_ok());
    assert!(wrong(&format!("{}a", "-".repeat(DEEPEST + 1))).contains("inside each other"));
    let sum = |terms: usize| vec!["a"; terms].join("+");
    assert!(Expression::parse(&sum(MOST_STEPS / 2)).is_ok());
    assert!(wrong(&sum(MOST_STEPS / 2 + 1)).contains("more than 100"));
    assert!(wrong(&format!("a{}", " ".repeat(LONGEST))).contains("longer than 500"));
    assert!(wrong(&"(".repeat(LONGEST)).contains("inside each other"));
}

#[test]
fn a_name_that_is_a_slip_of_another_is_reported_and_two_fields_are_not() {
    let message = |texts: &[&str]| {
        let expressions: Vec<Expression> = texts.iter().map(|text| Expression::parse(text).unwrap()).collect();
        slip(&expressions.iter().collect::<Vec<_>>()).map(|(at, name, meant)| format!("{at} {name} {meant}"))
    };
    for (texts, wanted) in [
        (&["close", "clsoe - previous.close"][..], Some("1 clsoe close")),
        (&["close - previous.clos", "close"], Some("0 clos close")),
        (&["close - previous.Close", "close"], Some("0 Close close")),
        (&["clsoe - previous.close"], Some("0 clsoe close")),
        (&["close", "(close - previous.close) / previous.closee"], Some("1 closee close")),
        (&["close", "close - `closed`"], None),
        (&["close", "close - previous.`closed`"], None),
        (&["close", "closed"], None),
        (&["sma20", "sma20 - sma50"], None),
        (&["bid", "bids - bid"], None),
        (&["open", "high - low", "close - open"], None),
    ] {
        assert_eq!(message(texts).as_deref(), wanted, "{texts:?}");
    }
}
