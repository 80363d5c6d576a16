//! Statements as they are declared, with parameters by name, made into what a driver takes: parameters by number.

use std::ops::Range;

use super::error::TemplateError;

/// What a database's SQL looks like, as far as is needed to find its parameters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Dialect {
    Postgres,
    Sqlite,
}

/// One statement with its parameters by number. Values are never written into it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Template {
    /// The statement for the driver.
    pub(super) sql: String,
    /// Which declared parameter each number stands for, from the first on.
    pub(super) order: Vec<usize>,
}

impl Template {
    /// Reads a statement whose parameters are `:name`. Literals, quoted names, comments and `::` casts stay as they are.
    ///
    /// # Errors
    ///
    /// The problem with it, and how to fix it.
    pub(super) fn parse(sql: &str, dialect: Dialect, declared: &[&str]) -> Result<Template, TemplateError> {
        let mut template = Template { sql: String::with_capacity(sql.len() + 8), order: Vec::new() };
        let mut scanner = Scanner { text: sql, at: 0, dialect };
        let mut first_word: Option<&str> = None;
        let mut ended = false;
        while let Some(token) = scanner.next()? {
            let text = sql.get(token.span.clone()).unwrap_or_default();
            if token.kind == Kind::End {
                ended = true;
                continue;
            }
            if token.kind != Kind::Blank {
                if ended {
                    return Err(TemplateError::SeveralStatements);
                }
                first_word.get_or_insert(text);
            }
            if token.kind == Kind::Parameter {
                let number = template.number(text, declared)?;
                template.sql.push_str(&match dialect {
                    Dialect::Postgres => format!("${number}"),
                    Dialect::Sqlite => format!("?{number}"),
                });
            } else if !ended {
                template.sql.push_str(text);
            }
        }
        readable(first_word)?;
        Ok(template)
    }

    fn number(&mut self, text: &str, declared: &[&str]) -> Result<usize, TemplateError> {
        let name = text.trim_start_matches(':');
        let Some(index) = declared.iter().position(|known| *known == name) else {
            let declared = declared.iter().map(|known| (*known).to_owned()).collect();
            return Err(TemplateError::Undeclared { name: name.to_owned(), declared });
        };
        if let Some(earlier) = self.order.iter().position(|used| *used == index) {
            return Ok(earlier + 1);
        }
        self.order.push(index);
        Ok(self.order.len())
    }
}

fn readable(first_word: Option<&str>) -> Result<(), TemplateError> {
    let Some(word) = first_word else { return Err(TemplateError::Empty) };
    let known = ["select", "with", "values", "table", "("];
    if known.iter().any(|start| word.eq_ignore_ascii_case(start)) {
        return Ok(());
    }
    Err(TemplateError::DoesNotRead(cut(word)))
}

fn cut(word: &str) -> String {
    word.chars().take(20).collect()
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    /// White space and comments.
    Blank,
    /// A word, a literal, a quoted name, a sign.
    Other,
    /// `:name`.
    Parameter,
    /// A semicolon.
    End,
}

struct Token {
    kind: Kind,
    span: Range<usize>,
}

struct Scanner<'a> {
    text: &'a str,
    at: usize,
    dialect: Dialect,
}

impl Scanner<'_> {
    fn next(&mut self) -> Result<Option<Token>, TemplateError> {
        let start = self.at;
        let rest = self.rest();
        let Some(first) = rest.chars().next() else { return Ok(None) };
        let kind = match first {
            _ if rest.starts_with("--") => {
                self.at += rest.find('\n').unwrap_or(rest.len());
                Kind::Blank
            }
            _ if rest.starts_with("/*") => {
                self.comment()?;
                Kind::Blank
            }
            _ if first.is_whitespace() => self.take(first.len_utf8(), Kind::Blank),
            ';' => self.take(1, Kind::End),
            '\'' => self.quoted('\'', false)?,
            '"' => self.quoted('"', false)?,
            '`' if self.dialect == Dialect::Sqlite => self.quoted('`', false)?,
            '[' if self.dialect == Dialect::Sqlite => {
                let end = rest.find(']').ok_or(TemplateError::Bracket)?;
                self.take(end + 1, Kind::Other)
            }
            '$' => self.dollar()?,
            '?' | '@' if self.dialect == Dialect::Sqlite => return Err(TemplateError::Foreign(first)),
            ':' => self.colon(),
            _ if starts_word(first) => self.word()?,
            _ if first.is_ascii_digit() => {
                let end = rest.find(|c: char| !continues_word(c)).unwrap_or(rest.len());
                self.take(end, Kind::Other)
            }
            _ => self.take(first.len_utf8(), Kind::Other),
        };
        Ok(Some(Token { kind, span: start..self.at }))
    }

    fn rest(&self) -> &str {
        self.text.get(self.at..).unwrap_or_default()
    }

    fn take(&mut self, length: usize, kind: Kind) -> Kind {
        self.at += length;
        kind
    }

    /// A comment between `/*` and `*/`. PostgreSQL's hold others.
    fn comment(&mut self) -> Result<(), TemplateError> {
        let nests = self.dialect == Dialect::Postgres;
        let mut depth = 0usize;
        while let Some(pair) = self.text.as_bytes().get(self.at..self.at + 2) {
            match pair {
                b"/*" if nests || depth == 0 => {
                    depth += 1;
                    self.at += 2;
                }
                b"*/" => {
                    depth -= 1;
                    self.at += 2;
                    if depth == 0 {
                        return Ok(());
                    }
                }
                _ => self.at += 1,
            }
        }
        Err(TemplateError::Comment)
    }

    /// A literal or a quoted name. A doubled quote is one of its characters, and so is an escaped one in `E'…'`.
    fn quoted(&mut self, quote: char, escapes: bool) -> Result<Kind, TemplateError> {
        let mut characters = self.rest().char_indices().skip(1).peekable();
        while let Some((at, character)) = characters.next() {
            if character == '\\' && escapes {
                characters.next();
            } else if character == quote && characters.next_if(|(_, next)| *next == quote).is_none() {
                return Ok(self.take(at + quote.len_utf8(), Kind::Other));
            }
        }
        Err(TemplateError::Quote(quote))
    }

    fn word(&mut self) -> Result<Kind, TemplateError> {
        let rest = self.rest();
        let end = rest.find(|c: char| !continues_word(c) && c != '$').unwrap_or(rest.len());
        let escapes =
            self.dialect == Dialect::Postgres && rest.get(..end).is_some_and(|word| word.eq_ignore_ascii_case("e"));
        self.at += end;
        if escapes && self.rest().starts_with('\'') {
            return self.quoted('\'', true);
        }
        Ok(Kind::Other)
    }

    /// `$tag$ … $tag$`, PostgreSQL's literals without quotes.
    fn dollar(&mut self) -> Result<Kind, TemplateError> {
        let rest = self.rest();
        let tag = rest.char_indices().skip(1).find(|(_, c)| !continues_word(*c));
        let Some((end, '$')) = tag.filter(|_| self.dialect == Dialect::Postgres) else {
            return Err(TemplateError::Foreign('$'));
        };
        let tag = rest.get(..=end).unwrap_or_default();
        if tag.chars().nth(1).is_some_and(|c| c.is_ascii_digit()) {
            return Err(TemplateError::Foreign('$'));
        }
        let body = rest.get(end + 1..).unwrap_or_default();
        let close = body.find(tag).ok_or_else(|| TemplateError::Dollar(tag.to_owned()))?;
        let length = end + 1 + close + tag.len();
        Ok(self.take(length, Kind::Other))
    }

    fn colon(&mut self) -> Kind {
        let rest = self.rest();
        if rest.starts_with("::") {
            return self.take(2, Kind::Other);
        }
        let name = rest.get(1..).unwrap_or_default();
        if !name.starts_with(starts_word) {
            return self.take(1, Kind::Other);
        }
        let end = name.find(|c: char| !continues_word(c)).unwrap_or(name.len());
        self.take(end + 1, Kind::Parameter)
    }
}

fn starts_word(character: char) -> bool {
    character.is_alphabetic() || character == '_'
}

fn continues_word(character: char) -> bool {
    character.is_alphanumeric() || character == '_'
}

#[cfg(test)]
mod tests {
    use super::*;

    fn postgres(sql: &str) -> Result<Template, TemplateError> {
        Template::parse(sql, Dialect::Postgres, &["symbol", "limit"])
    }

    fn sqlite(sql: &str) -> Result<Template, TemplateError> {
        Template::parse(sql, Dialect::Sqlite, &["symbol", "limit"])
    }

    #[test]
    fn named_parameters_become_numbers_in_order_of_use() {
        let got = postgres("select * from t where a=:limit and b = :symbol or c=:limit").unwrap();
        assert_eq!(got.sql, "select * from t where a=$1 and b = $2 or c=$1");
        assert_eq!(got.order, [1, 0]);
        assert_eq!(sqlite("SELECT :symbol").unwrap().sql, "SELECT ?1");
    }

    #[test]
    fn what_only_looks_like_a_parameter_stays() {
        for sql in [
            "select a::symbol from t",
            "select ':symbol', 'it''s :symbol'",
            "select E'\\':symbol'",
            "select \":symbol\", \"a\"\":symbol\"",
            "select 1 -- :symbol",
            "select 1 /* :symbol /* :symbol */ :symbol */",
            "select $$:symbol$$, $a$ $$ :symbol $a$",
            "select a[1: 2], f(x := 1)",
            "select e$symbol, 1e5",
        ] {
            let got = postgres(sql).unwrap_or_else(|why| panic!("{sql}: {why}"));
            assert_eq!((got.sql.as_str(), got.order.len()), (sql, 0));
        }
        for sql in ["select [:symbol], `:symbol`", "select 1 /* /* :symbol */", "select '\\'"] {
            assert_eq!(sqlite(sql).map(|got| (got.sql, got.order.len())), Ok((sql.to_owned(), 0)));
        }
    }

    #[test]
    fn a_cast_behind_a_parameter_is_kept() {
        assert_eq!(postgres("select :limit::int").unwrap().sql, "select $1::int");
    }

    #[test]
    fn an_unknown_parameter_is_refused_with_the_known_ones() {
        let why = postgres("select :symbl").unwrap_err().to_string();
        assert!(why.contains("`:symbl`") && why.contains("symbol, limit"), "{why}");
    }

    #[test]
    fn one_statement_may_end_with_a_semicolon_and_no_other_may_follow() {
        assert_eq!(postgres("select 1 ; -- done\n ").unwrap().sql, "select 1 ");
        let why = postgres("select 1; drop table t").unwrap_err().to_string();
        assert!(why.contains("more than one statement"), "{why}");
    }

    #[test]
    fn only_reading_statements_in_the_routes_own_form_are_taken() {
        for sql in ["", " -- nothing", "delete from t", "set x = 1", "begin", "pragma x"] {
            assert!(postgres(sql).is_err(), "{sql}");
        }
        for sql in ["select $1", "select 'open", "select /* open", "select $a$ open", "select \"open"] {
            assert!(postgres(sql).is_err(), "{sql}");
        }
        for sql in ["select ?", "select @a", "select $a", "select [open"] {
            assert!(sqlite(sql).is_err(), "{sql}");
        }
        assert!(postgres("(select 1) union (select 2)").is_ok());
        assert!(postgres("select data ? 'a', data @> '{}' from t").is_ok());
    }
}
