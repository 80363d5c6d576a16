//! The metadata remembered with the bytes of an answer. The first line is the content type, as it is all there is
//! besides the answers of the exchange.

/// The metadata remembered with the bytes of an answer.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Meta {
    pub(crate) content_type: String,
    /// Which of the route's sources gave it, and how that names its versions.
    pub(crate) validator: Option<(usize, String)>,
    /// By which declaration it was loaded; none of what an application put there itself.
    pub(crate) definition: Option<String>,
    /// Of which database, bucket or API it is.
    pub(crate) place: Option<String>,
}

impl Meta {
    pub(crate) fn parse(text: &str) -> Meta {
        let mut lines = text.lines();
        let mut meta = Meta { content_type: lines.next().unwrap_or_default().to_owned(), ..Meta::default() };
        for line in lines {
            match line.split_once(' ') {
                Some(("definition", value)) => meta.definition = Some(value.to_owned()),
                Some(("place", value)) => meta.place = Some(value.to_owned()),
                Some(("validator", value)) => {
                    let (source, validator) = value.split_once(' ').unwrap_or_default();
                    meta.validator = source.parse().ok().map(|source| (source, validator.to_owned()));
                }
                _ => {}
            }
        }
        meta
    }

    pub(crate) fn write(&self) -> String {
        let one_line = |text: &str| !text.contains(['\n', '\r']);
        let mut text = self.content_type.clone();
        if let Some((source, validator)) = self.validator.as_ref().filter(|(_, validator)| one_line(validator)) {
            text.push_str(&format!("\nvalidator {source} {validator}"));
        }
        if let Some(definition) = &self.definition {
            text.push_str(&format!("\ndefinition {definition}"));
        }
        if let Some(place) = &self.place {
            text.push_str(&format!("\nplace {place}"));
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn written_metadata_is_read_back_and_a_content_type_alone_is_enough() {
        let meta = Meta {
            content_type: "application/json".to_owned(),
            validator: Some((1, "W/\"a b\"".to_owned())),
            definition: Some("0f".to_owned()),
            place: Some("f0".to_owned()),
        };
        assert_eq!(Meta::parse(&meta.write()), meta);
        let plain = Meta { content_type: "text/plain".to_owned(), ..Meta::default() };
        assert_eq!((Meta::parse("text/plain"), plain.write()), (plain.clone(), "text/plain".to_owned()));
        let split = Meta { validator: Some((0, "a\nb".to_owned())), ..plain.clone() };
        assert_eq!(Meta::parse(&split.write()), plain);
    }
}
