//! Rows as one text.

/// Rows between brackets.
pub(crate) fn array<T>(rows: impl IntoIterator<Item = T>, mut write: impl FnMut(&mut String, T)) -> String {
    let mut out = String::from("[");
    for row in rows {
        if out.len() > 1 {
            out.push(',');
        }
        write(&mut out, row);
    }
    out.push(']');
    out
}
