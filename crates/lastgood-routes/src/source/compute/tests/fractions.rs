//! Whatever expression there is, against exact fractions.

use std::collections::BTreeMap;
use std::convert::Infallible;

use proptest::prelude::*;

use super::super::*;

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
