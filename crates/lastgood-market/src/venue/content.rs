//! What an answer must contain: the last column of the endpoint table.

/// What a JSON value must be. Fields that are not named may be there, and are not looked at.
#[derive(Clone, Copy, Debug)]
pub enum Kind {
    /// Anything.
    Any,
    /// A string that is not empty.
    Text,
    /// A string: the symbol that the question names, or one of several.
    Symbol,
    /// As `Symbol`, and no two rows have the same.
    OwnSymbol,
    /// A string: the pair that the question names.
    Pair,
    /// A decimal number in a string, as prices are written.
    Decimal,
    /// As `Decimal`, or the empty string where there is no such number.
    DecimalOrEmpty,
    /// A decimal number, in a string or not.
    Number,
    /// A whole number.
    Integer,
    /// A whole number, in a string or not.
    Stamp,
    /// A whole number that is greater in each row than in the row before. Numbers of trades are; their times are not,
    /// the exchange's history has some that go back.
    Ascending,
    /// `true` or `false`.
    Boolean,
    /// `null`, or this.
    Nullable(&'static Kind),
    /// This, unless the question asks for `type=MINI`.
    UnlessMini(&'static Kind),
    /// An object with these fields.
    Object(&'static [(&'static str, Kind)]),
    /// An array of any number of these.
    List(&'static Kind),
    /// An array of these: no more than the question's `limit`.
    Rows(&'static Kind),
    /// An array of these: at least one, unless the question narrows them down by more than their names.
    Listing(&'static Kind),
    /// An array that begins with these.
    Tuple(&'static [Kind]),
}
