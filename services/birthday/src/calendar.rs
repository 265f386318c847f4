//! When a birthday is. Pure: today is an argument.

use jiff::civil::{Date, date};

/// How many days are left until the next birthday of someone born on `born`;
/// 0 where it is today.
///
/// Who was born on 29 February has their birthday on 1 March in years without
/// one: only then has a full year passed.
pub fn days_to_birthday(born: Date, today: Date) -> u16 {
    let this_year = birthday_in(born, today.year());
    let next = if this_year >= today {
        this_year
    } else {
        birthday_in(born, today.year() + 1)
    };
    let days = (next - today).get_days();
    u16::try_from(days).expect("a birthday is at most 366 days ahead")
}

fn birthday_in(born: Date, year: i16) -> Date {
    Date::new(year, born.month(), born.day()).unwrap_or_else(|_| date(year, 3, 1))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn counts_days() {
        for (born, today, days) in [
            (date(1990, 6, 15), date(2026, 6, 15), 0),
            (date(1990, 6, 15), date(2026, 6, 14), 1),
            (date(1990, 6, 15), date(2026, 6, 16), 364),
            // The way around leads over 29 February 2028.
            (date(1990, 6, 15), date(2027, 6, 16), 365),
            (date(1990, 1, 1), date(2026, 12, 31), 1),
            (date(1990, 12, 31), date(2026, 1, 1), 364),
        ] {
            assert_eq!(days_to_birthday(born, today), days, "{born} on {today}");
        }
    }

    #[test]
    fn the_29th_of_february_is_the_1st_of_march_in_common_years() {
        let born = date(2000, 2, 29);
        for (today, days) in [
            (date(2027, 2, 28), 1),
            (date(2027, 3, 1), 0),
            (date(2027, 3, 2), 364),
            (date(2028, 2, 28), 1),
            (date(2028, 2, 29), 0),
            (date(2028, 3, 1), 365),
        ] {
            assert_eq!(days_to_birthday(born, today), days, "{today}");
        }
    }

    fn any_date() -> impl Strategy<Value = Date> {
        (1i16..=9000, 1i8..=12, 1i8..=31)
            .prop_filter_map("a date", |(y, m, d)| Date::new(y, m, d).ok())
    }

    proptest! {
        #[test]
        fn one_day_later_is_one_day_less(born in any_date(), today in any_date()) {
            let days = days_to_birthday(born, today);
            prop_assert!(days <= 366);
            let tomorrow = today.tomorrow().unwrap();
            let expected = if days == 0 { None } else { Some(days - 1) };
            if let Some(expected) = expected {
                prop_assert_eq!(days_to_birthday(born, tomorrow), expected);
            } else {
                prop_assert!(days_to_birthday(born, tomorrow) >= 364);
            }
        }
    }
}
