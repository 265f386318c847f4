//! The format of control files and indices: paragraphs of `Field: value` lines.

/// A field with its value, continuation lines included and joined by newlines.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Field<'a> {
    pub(crate) name: &'a str,
    /// Without the space after the colon; continuation lines keep theirs.
    pub(crate) value: &'a str,
}

/// Why a text is not a paragraph.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("line {line} is neither `Field: value` nor the continuation of one")]
pub struct InvalidParagraph {
    /// Counted from 1.
    pub line: usize,
}

/// The fields of one paragraph; empty lines around it are passed over.
pub(crate) fn fields(paragraph: &str) -> Result<Vec<Field<'_>>, InvalidParagraph> {
    let mut fields: Vec<Field<'_>> = Vec::new();
    let mut value_start = 0;
    let mut position = 0;
    for (index, line) in paragraph.split('\n').enumerate() {
        let (start, end) = (position, position + line.len());
        position = end + 1;
        if line.trim().is_empty() {
            continue;
        }
        if line.starts_with([' ', '\t']) {
            let field = fields
                .last_mut()
                .ok_or(InvalidParagraph { line: index + 1 })?;
            field.value = &paragraph[value_start..end];
            continue;
        }
        let (name, value) = line
            .split_once(':')
            .filter(|(name, _)| is_name(name))
            .ok_or(InvalidParagraph { line: index + 1 })?;
        let value = value.trim();
        value_start = match value {
            "" => position,
            _ => start + line.len() - line[name.len() + 1..].trim_start().len(),
        };
        fields.push(Field { name, value });
    }
    Ok(fields)
}

/// The value of a field; names are compared without regard to case.
pub(crate) fn value<'a>(fields: &[Field<'a>], name: &str) -> Option<&'a str> {
    fields
        .iter()
        .find(|field| field.name.eq_ignore_ascii_case(name))
        .map(|field| field.value)
}

fn is_name(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_graphic())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_with_continuation_lines() {
        let text = "Package: redis\nDescription: short\n long\n .\n more\nSize:12\n\n";
        let fields = fields(text).unwrap();
        assert_eq!(value(&fields, "package"), Some("redis"));
        assert_eq!(
            value(&fields, "Description"),
            Some("short\n long\n .\n more")
        );
        assert_eq!(value(&fields, "Size"), Some("12"));
        assert_eq!(value(&fields, "Depends"), None);
        assert_eq!(fields.len(), 3);
    }

    #[test]
    fn a_value_may_begin_on_the_next_line() {
        let text = "SHA256:\n aa 1 x\n bb 2 y\nEnd: 1";
        let fields = fields(text).unwrap();
        let lines: Vec<_> = value(&fields, "SHA256")
            .unwrap()
            .lines()
            .map(str::trim)
            .collect();
        assert_eq!(lines, ["aa 1 x", "bb 2 y"]);
    }

    #[test]
    fn other_lines_are_refused_with_their_number() {
        assert_eq!(fields(" indented first"), Err(InvalidParagraph { line: 1 }));
        assert_eq!(fields("A: b\nno colon"), Err(InvalidParagraph { line: 2 }));
        assert_eq!(fields("A b: c"), Err(InvalidParagraph { line: 1 }));
        assert_eq!(fields("\n\n").unwrap(), []);
    }
}
