"""Characters that words are made of, parted at or freed from, for regular expressions."""

from __future__ import annotations

# Soft hyphen, joiners, directions, variation selectors: they are seen by nobody.
IGNORED = (
    r"\u00AD\u034F\u061C\u180B-\u180F\u200B-\u200F\u202A-\u202E\u2060-\u206F\uFE00-\uFE0F\uFEFF"
)
# Marks and numbers that are no [:alnum:] to PostgreSQL, of Unicode's categories M and N.
MARKS = (
    r"\u00B2-\u00B3\u00B9\u00BC-\u00BE\u0300-\u034E\u0350-\u036F\u0483-\u0489\u0591-\u05BD\u05BF"
    r"\u05C1-\u05C2\u05C4-\u05C5\u05C7\u0610-\u061A\u064B-\u065F\u0670\u06D6-\u06DC\u06DF-\u06E8"
    r"\u06EA-\u06ED\u0740-\u074A\u07EB-\u07F3\u07FD\u0818-\u082D\u0859-\u085B\u0898-\u08E1"
    r"\u08EA-\u08EF\u093C-\u0954\u09BC-\u09CD\u09F4-\u09F9\u09FE-\u0A4D\u0ABC-\u0ACD\u0AFD-\u0B55"
    r"\u0B72-\u0B77\u0BCD-\u0BF2\u0C3C-\u0C4D\u0C78-\u0C7E\u0CBC-\u0CCD\u0D3B-\u0D4D\u0D58-\u0D78"
    r"\u0DCA\u0E47-\u0E4E\u0EBA-\u0ECC\u0F18-\u0F19\u0F2A-\u0F33\u0F35\u0F37\u0F39\u0F3E-\u0F3F"
    r"\u0F84\u0F86-\u0F87\u0FC6\u1037-\u103A\u135D-\u135F\u1369-\u137C\u1714-\u1734\u17B4-\u17D3"
    r"\u17DD-\u17F9\u1939-\u193B\u19DA\u1A60-\u1A7F\u1AB0-\u1ACE\u1B34-\u1B44\u1B6B-\u1B73"
    r"\u1BAA-\u1BF3\u1C37\u1CD0-\u1CD2\u1CD4-\u1CF9\u1DC0-\u1DFF\u2070-\u2079\u2080-\u2089"
    r"\u20D0-\u20F0\u2150-\u2189\u2460-\u249B\u24EA-\u24FF\u2776-\u2793\u2CEF-\u2CF1\u2CFD\u2D7F"
    r"\u302A-\u302F\u3099-\u309A\u3192-\u3195\u3220-\u3229\u3248-\u324F\u3251-\u325F\u3280-\u3289"
    r"\u32B1-\u32BF\uA66F-\uA672\uA67C-\uA67D\uA6F0-\uA6F1\uA806\uA82C-\uA835\uA8C4\uA8E0-\uA8F1"
    r"\uA92B-\uA92D\uA953\uA9B3-\uA9C0\uAABF-\uAAC1\uAAF6\uABEC-\uABED\uFE20-\uFE2F"
    r"\U00010107-\U00010133\U00010A01-\U00010A48\U00010D24-\U00010D27\U00010F46-\U00010F50"
    r"\U00011000-\U00011002\U00011038-\U00011046\U0001107F-\U00011082\U000110B0-\U000110BA"
    r"\U00011100-\U00011102\U00011127-\U00011134\U00011173\U00011180-\U00011182"
    r"\U000111B3-\U000111C0\U0001122C-\U00011237\U000112DF-\U000112EA\U00011300-\U00011303"
    r"\U0001133B-\U0001133C\U0001133E-\U0001134D\U00011435-\U00011446\U000114B0-\U000114C3"
    r"\U000115AF-\U000115C0\U00011630-\U00011640\U000116AB-\U000116B7\U0001E000-\U0001E02A"
    r"\U0001E130-\U0001E136\U0001E2EC-\U0001E2EF\U0001E8D0-\U0001E8D6\U0001E944-\U0001E94A"
    r"\U0001F100-\U0001F10C"
)
WORD = f"[:alnum:]{MARKS}"
# Han, kana, bopomofo, hangul; Thai, Lao, Burmese, Khmer without their digits.
UNSPACED = (
    r"\u0E01-\u0E3A\u0E40-\u0E4E\u0E81-\u0ECE\u0EDC-\u0EDF\u1000-\u103F\u1050-\u108F\u109A-\u109F"
    r"\u1100-\u11FF\u1780-\u17D3\u17D7-\u17DD\u3005-\u3007\u3041-\u312F\u3131-\u318E\u31A0-\u31FF"
    r"\u3400-\u4DBF\u4E00-\u9FFF\uA960-\uA97C\uAC00-\uD7FB\uF900-\uFAFF\uFF66-\uFFDC"
    r"\U0001B000-\U0001B16F\U00020000-\U0003FFFD"
)
# Of these scripts, what belongs to the character before it.
UNSPACED_MARKS = (
    r"\u0E31\u0E33-\u0E3A\u0E47-\u0E4E\u0EB1\u0EB3-\u0EBC\u0EC8-\u0ECE\u102B-\u103E\u1056-\u1059"
    r"\u105E-\u1060\u1062-\u1064\u1067-\u106D\u1071-\u1074\u1082-\u108D\u108F\u109A-\u109D"
    r"\u17B4-\u17D3\u17DD\u302A-\u302F\u3099-\u309A\uFF9E-\uFF9F"
)
# Hebrew and Arabic points, the Arabic stroke that only widens, nuktas, marks of many scripts.
POINTS = (
    r"\u0300-\u034E\u0350-\u036F\u0483-\u0489\u0591-\u05BD\u05BF-\u05C7\u0610-\u061A\u0640"
    r"\u064B-\u065F\u0670\u06D6-\u06DC\u06DF-\u06E8\u06EA-\u06ED\u0711\u0730-\u074A\u07EB-\u07F3"
    r"\u07FD\u0816-\u0819\u081B-\u0823\u0825-\u0827\u0829-\u082D\u0859-\u085B\u0898-\u089F"
    r"\u08CA-\u08E1\u08E3-\u08FF\u093C\u09BC\u0A3C\u0ABC\u0B3C\u135D-\u135F\u1AB0-\u1AFF"
    r"\u1DC0-\u1DFF\u20D0-\u20F0\u2CEF-\u2CF1\uFE20-\uFE2F"
)

# Arabic letters that are typed for each other: alef with what it carries, yeh, teh marbuta, kaf;
# of Devanagari those that keep their nukta.
VARIANTS = "\u0623\u0625\u0622\u0671\u0649\u0629\u06cc\u06a9\u0929\u0931\u0934"
PLAIN_LETTERS = "\u0627\u0627\u0627\u0627\u064a\u0647\u064a\u0643\u0928\u0930\u0933"
# What is written in two ways: the Armenian ligature of ech and yiwn, whose capitals are ech, vew;
# Malayalam and Bengali letters that were a consonant, a virama and a joiner before they were one.
OTHERWISE = {
    "\u0565\u0582": "\u0565\u057e",
    "\u0d7a": "\u0d23\u0d4d", "\u0d7b": "\u0d28\u0d4d", "\u0d7c": "\u0d30\u0d4d",
    "\u0d7d": "\u0d32\u0d4d", "\u0d7e": "\u0d33\u0d4d", "\u0d7f": "\u0d15\u0d4d",
    "\u09ce": "\u09a4\u09cd",
}  # fmt: skip
# ASCII and Cyrillic letters, composed as far as they can be: nothing of the above is in such texts.
CYRILLIC = r"\u0400-\u0482\u048A-\u052F"
PLAIN = rf"^[\u0001-\u007F{CYRILLIC}]*$"
