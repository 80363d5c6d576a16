use std::collections::BTreeMap;
use std::convert::Infallible;

use proptest::prelude::*;

use super::*;

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

/// An expression, to be judged by other means than those that are tested.
#[derive(Clone, Debug)]
enum Tree {
    Number(i64),
    Field(usize),
    Negate(Box<Tree>),
    Two(char, Box<Tree>, Box<Tree>),
    Call(&'static str, Box<Tree>, Box<Tree>),
    Round(Box<Tree>, u32),
}

const FIELDS: [&str; 4] = ["a", "b", "previous.a", "previous.b"];

/// Whole numbers of thousandths as text.
fn thousandths(number: i64) -> String {
    format!("{}{}.{:03}", if number < 0 { "-" } else { "" }, number.abs() / 1_000, number.abs() % 1_000)
}

impl Tree {
    fn text(&self) -> String {
        match self {
            Tree::Number(number) => thousandths(*number),
            Tree::Field(field) => FIELDS[*field].to_owned(),
            Tree::Negate(inner) => format!("-({})", inner.text()),
            Tree::Two(operator, left, right) => format!("({} {operator} {})", left.text(), right.text()),
            Tree::Call(name, left, right) => format!("{name}({}, {})", left.text(), right.text()),
            Tree::Round(inner, digits) => format!("round({}, {digits})", inner.text()),
        }
    }

    fn names_a_field(&self) -> bool {
        match self {
            Tree::Number(_) => false,
            Tree::Field(_) => true,
            Tree::Negate(inner) | Tree::Round(inner, _) => inner.names_a_field(),
            Tree::Two(_, left, right) | Tree::Call(_, left, right) => left.names_a_field() || right.names_a_field(),
        }
    }

    /// As a fraction in lowest terms: exact, or nothing where it is too large to tell.
    fn exact(&self, fields: &[i64; 4]) -> Result<Option<(i128, i128)>, TooLarge> {
        let of = |tree: &Tree| tree.exact(fields);
        match self {
            Tree::Number(number) => fraction(i128::from(*number), 1_000),
            Tree::Field(field) => fraction(i128::from(fields[*field]), 1_000),
            Tree::Negate(inner) => Ok(of(inner)?.map(|(over, under)| (-over, under))),
            Tree::Round(inner, digits) => {
                let Some((over, under)) = of(inner)? else { return Ok(None) };
                let scale = 10i128.pow(*digits);
                let scaled = over.checked_mul(scale).ok_or(TooLarge)?;
                let nearest = (2 * scaled.abs() + under).div_euclid(2 * under) * scaled.signum();
                fraction(nearest, scale)
            }
            Tree::Two(operator, left, right) => {
                let (Some((a, b)), Some((c, d))) = (of(left)?, of(right)?) else { return Ok(None) };
                let product = |left: i128, right: i128| left.checked_mul(right).ok_or(TooLarge);
                match operator {
                    '+' => fraction(product(a, d)?.checked_add(product(c, b)?).ok_or(TooLarge)?, product(b, d)?),
                    '-' => fraction(product(a, d)?.checked_sub(product(c, b)?).ok_or(TooLarge)?, product(b, d)?),
                    '*' => fraction(product(a, c)?, product(b, d)?),
                    _ if c == 0 => Ok(None),
                    _ => fraction(product(a, d)? * c.signum(), product(b, c.abs())?),
                }
            }
            Tree::Call(name, left, right) => {
                let (Some(left), Some(right)) = (of(left)?, of(right)?) else { return Ok(None) };
                let crossed = |of: (i128, i128), with: (i128, i128)| of.0.checked_mul(with.1).ok_or(TooLarge);
                let is_less = crossed(left, right)? < crossed(right, left)?;
                Ok(Some(if is_less == (*name == "min") { left } else { right }))
            }
        }
    }
}

#[derive(Debug)]
struct TooLarge;

fn fraction(over: i128, under: i128) -> Result<Option<(i128, i128)>, TooLarge> {
    let (mut a, mut b) = (over.abs(), under);
    while b != 0 {
        (a, b) = (b, a % b);
    }
    let (over, under) = (over / a.max(1), under / a.max(1));
    // A larger number may be beyond what a decimal holds.
    if over.abs() > 10i128.pow(18) || under > 10i128.pow(18) { Err(TooLarge) } else { Ok(Some((over, under))) }
}

/// Divides by fields and numbers alone: what a quotient that was rounded is divided by could be anything.
fn tree() -> impl Strategy<Value = Tree> {
    let number = (0i64..5_000).prop_map(Tree::Number);
    let leaf = prop_oneof![number, (0..FIELDS.len()).prop_map(Tree::Field)];
    leaf.clone().prop_recursive(4, 24, 2, move |inner| {
        let boxed = || inner.clone().prop_map(Box::new);
        prop_oneof![
            boxed().prop_map(Tree::Negate),
            (prop::sample::select(vec!['+', '-', '*']), boxed(), boxed())
                .prop_map(|(operator, left, right)| Tree::Two(operator, left, right)),
            (boxed(), leaf.clone()).prop_map(|(left, right)| Tree::Two('/', left, Box::new(right))),
            (prop::sample::select(vec!["min", "max"]), boxed(), boxed())
                .prop_map(|(name, left, right)| Tree::Call(name, left, right)),
            (boxed(), 0u32..5).prop_map(|(inner, digits)| Tree::Round(inner, digits)),
        ]
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1_000, ..ProptestConfig::default() })]

    #[test]
    fn any_expression_says_what_exact_fractions_say(tree in tree(), fields in any::<[i16; 4]>()) {
        prop_assume!(tree.names_a_field());
        let fields = fields.map(i64::from);
        let text = tree.text();
        let Ok(expression) = Expression::parse(&text) else {
            // A division by a zero that is written there.
            prop_assert!(text.contains("/ 0.000"), "{}", text);
            return Ok(());
        };
        let texts: BTreeMap<String, String> =
            FIELDS.iter().zip(fields).map(|(name, number)| ((*name).to_owned(), thousandths(number))).collect();
        let find = |field: &Field| {
            let name = format!("{}{}", if field.is_previous { "previous." } else { "" }, field.path.join("."));
            Ok::<_, Infallible>(texts.get(&name).map(String::as_str))
        };
        let got = expression.evaluate(find).unwrap();
        let Ok(exact) = tree.exact(&fields) else { return Ok(()) };
        let Some((over, under)) = exact else {
            prop_assert_eq!(got, "null", "{}", text);
            return Ok(());
        };
        let got: Decimal = got.parse().map_err(|_| TestCaseError::fail(format!("{text} gave {got}")))?;
        if let Tree::Field(_) = tree {
            prop_assert_eq!(got * Decimal::from(1_000), Decimal::from(over * 1_000 / under), "{}", text);
        }
        let exact = Decimal::from_i128_with_scale(over, 0) / Decimal::from_i128_with_scale(under, 0);
        // A quotient may lie next to a half by its last digit, which rounding then makes a whole one of.
        let tolerance = if text.contains('/') && text.contains("round") { Decimal::ONE } else { Decimal::new(1, 12) };
        prop_assert!((got - exact).abs() <= tolerance * Decimal::from(10), "{} gave {} and not {}", text, got, exact);
        if !text.contains('/') {
            prop_assert_eq!(got, exact, "{}", text);
        }
    }

    #[test]
    fn any_text_is_read_or_refused(text in "\\PC{0,60}") {
        _ = Expression::parse(&text);
    }

    #[test]
    fn any_text_of_the_right_letters_is_read_or_refused(
        text in "(close|previous|round|min|abs|[0-9]{1,3}|[ +*/().,`-]|é){0,40}",
        row in prop::sample::select(vec!["1", "null", "\"2.5\"", "1e28", "-0", "[]", "\"x\""]),
    ) {
        if let Ok(expression) = Expression::parse(&text) {
            let value = expression.evaluate(|_| Ok::<_, Infallible>(Some(row))).unwrap();
            prop_assert!(serde_json::from_str::<serde_json::Value>(&value).is_ok(), "{} gave {}", text, value);
        }
    }

    #[test]
    fn any_json_is_a_number_or_none(text in "\"?[-+0-9.eE_]{0,70}\"?") {
        if let Some(number) = decimal::of_json(&text) {
            let plain: f64 = text.trim_matches('"').parse().unwrap();
            let read: f64 = number.to_string().parse().unwrap();
            prop_assert!((plain - read).abs() <= plain.abs() * 1e-12, "{} as {}", text, number);
        }
    }
}
