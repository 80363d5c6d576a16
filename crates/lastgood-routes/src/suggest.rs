//! "Did you mean": the nearest known word.

/// Longest word worth comparing; the distance is quadratic in it.
const LONGEST: usize = 64;

/// The candidate nearest to `word`, if one is near enough to be meant.
pub fn nearest<'a>(word: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    if word.len() > LONGEST {
        return None;
    }
    let wanted = plain(word);
    let allowed = (wanted.chars().count() / 3).clamp(1, 3);
    candidates
        .into_iter()
        .map(|candidate| (distance(&wanted, &plain(candidate)), candidate))
        .filter(|(distance, _)| *distance <= allowed)
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, candidate)| candidate)
}

/// "did you mean `x`?" for the nearest candidate.
pub fn did_you_mean<'a>(word: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<String> {
    nearest(word, candidates).map(|found| format!("did you mean `{found}`?"))
}

/// The candidate that `word` is but one slip away from: one that may be a word of its own is not among them.
pub fn slip_of<'a>(word: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let wanted = plain(word);
    let near = |candidate: &&str| word.len() <= LONGEST && distance(&wanted, &plain(candidate)) <= 1;
    candidates.into_iter().find(near)
}

/// Case and the choice between `-`, `_` and nothing are no difference.
fn plain(word: &str) -> String {
    word.chars().filter(|c| !matches!(c, '_' | '-')).flat_map(char::to_lowercase).collect()
}

/// Edits between two words, a swap of neighbours counting once.
fn distance(left: &str, right: &str) -> usize {
    let left: Vec<char> = left.chars().collect();
    let right: Vec<char> = right.chars().collect();
    let mut before: Vec<usize> = Vec::new();
    let mut above: Vec<usize> = (0..=right.len()).collect();
    for (row, &l) in left.iter().enumerate() {
        let mut current = vec![row + 1];
        for (column, &r) in right.iter().enumerate() {
            let mut best = (above[column] + usize::from(l != r)).min(above[column + 1] + 1).min(current[column] + 1);
            if row > 0 && column > 0 && l == right[column - 1] && r == left[row - 1] {
                best = best.min(before[column - 1] + 1);
            }
            current.push(best);
        }
        before = std::mem::replace(&mut above, current);
    }
    above[right.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn typing_errors_are_recognised() {
        let keys = ["store", "store_budget", "data_dir", "listen"];
        assert_eq!(nearest("store_budgt", keys), Some("store_budget"));
        assert_eq!(nearest("data-dir", keys), Some("data_dir"));
        assert_eq!(nearest("LISTEN", keys), Some("listen"));
        assert_eq!(nearest("lsiten", keys), Some("listen"));
        assert_eq!(nearest("colour", keys), None);
        assert_eq!((slip_of("stores", keys), slip_of("stones", keys)), (Some("store"), None));
        assert_eq!(nearest("", keys), None);
        assert_eq!(nearest(&"x".repeat(10_000), keys), None);
    }
}
