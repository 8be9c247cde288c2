"""Names: Segment's rule for every known example, and laws for any text."""

from __future__ import annotations

import re
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from target_segment_objects.errors import ConfigurationError, SchemaError
from target_segment_objects.plan import PlanOptions
from target_segment_objects.plan.naming import (
    SEGMENT_TABLES,
    WAREHOUSE_OWNED,
    collection_name,
    property_name,
    snake_case,
    transliterate,
)

VECTORS = [
    ("sampleText", "sample_text"),
    ("sample 2 Text", "sample_2_text"),
    ("samPLE text", "sam_ple_text"),
    ("SAMPLE 2 TEXT", "sample_2_text"),
    ("sample___text", "sample_text"),
    ("sample-text", "sample_text"),
    ("something.com", "something_com"),
    ("$something%", "something"),
    ("inviteYourCustomersAddInvites", "invite_your_customers_add_invites"),
    ("___$$Base64Encode", "base64_encode"),
    ("FOO:BAR$BAZ", "foo_bar_baz"),
    ("•¶§ƒ˚foo˙∆˚¬", "foo"),
    ("CStringRef", "cstring_ref"),
    ("HTTPServer", "httpserver"),
    ("5test", "5test"),
    ("test5", "test5"),
    ("THE5r", "the5r"),
    ("5TEst", "5test"),
    ("_5TEst", "5test"),
    ("edf_6N", "edf_6n"),
    ("f_pX9", "f_p_x9"),
    ("p_z9Rg", "p_z9_rg"),
    ("2FA Enabled", "2fa_enabled"),
    ("Enabled 2FA", "enabled_2fa"),
    ("lk0B@bFmjrLQ_Z6YL", "lk0_b_b_fmjr_lq_z6yl"),
    ("@49L0S145_¬fwHƒ0TSLNVp", "49l0s145_fw_h_0tslnvp"),
    ("_sdc_batched_at", "sdc_batched_at"),
    ("Name__c", "name_c"),
    ("S3Bucket", "s3bucket"),
    ("userID", "user_id"),
    ("名前", ""),
    ("naïve", "na_ve"),
]

SNAKE = re.compile(r"(?:[a-z0-9]+(?:_[a-z0-9]+)*)?")
COLLECTION = re.compile(r"[a-z]+(?:_[a-z]+)*")

# Letters of the rule's alphabet come often, so that its corners do; the rest is any text.
names = st.text(st.sampled_from("abzAZ059__ -.é名")) | st.text()


def collection(stream: str, *, pluralize: bool = True, allow_digits: bool = False) -> str:
    """The collection of a stream that is not in `collections`."""
    options = PlanOptions(pluralize=pluralize, allow_collection_digits=allow_digits)
    return collection_name(stream, options)


def rule_in_words(name: str) -> str:
    """The rule again, character by character; the patterns are compared with it."""
    lower = set("abcdefghijklmnopqrstuvwxyz")
    upper = set("ABCDEFGHIJKLMNOPQRSTUVWXYZ")
    digits = set("0123456789")
    end = 0
    while end < len(name) and (
        name[end] in lower | digits
        or (name[end] == "_" and end > 0 and name[end + 1 : end + 2] in {*lower, *digits})
    ):
        end += 1
    words = [name[:end]] if end else []
    glued = not lower & set(name[:end].rpartition("_")[2])
    while end < len(name):
        run = ""
        for letters in (upper | digits, lower | digits):
            while end < len(name) and name[end] in letters:
                run += name[end].lower()
                end += 1
        if not run:
            end += 1
        elif glued and words:
            words[-1] += run
        else:
            words.append(run)
        glued = False
    return "_".join(words)


@pytest.mark.parametrize(("name", "snake"), VECTORS)
def test_snake_case_vectors(name: str, snake: str) -> None:
    """Segment's own examples become what its warehouses write."""
    assert snake_case(name) == snake


@given(names)
def test_snake_case_is_idempotent(name: str) -> None:
    """Applying the rule again changes nothing, so the warehouse keeps the name."""
    assert snake_case(snake_case(name)) == snake_case(name)


@given(names)
def test_snake_case_gives_words_joined_by_one_underscore(name: str) -> None:
    """Only lower-case letters and digits, with single underscores between them."""
    assert SNAKE.fullmatch(snake_case(name))


@given(names)
def test_snake_case_is_the_rule_in_words(name: str) -> None:
    """The patterns agree with the rule, character by character."""
    assert snake_case(name) == rule_in_words(name)


@given(names)
def test_snake_case_keeps_every_letter_and_digit(name: str) -> None:
    """No ASCII letter or digit is lost or added."""
    kept = "".join(char for char in name if char.isascii() and char.isalnum()).lower()
    assert snake_case(name).replace("_", "") == kept


@pytest.mark.parametrize(
    ("name", "ascii_name"),
    [
        ("plain_Name 1", "plain_Name 1"),
        ("naïve", "naive"),
        (unicodedata.normalize("NFD", "naïve"), "naive"),
        ("Größe", "Grosse"),
        ("名前", "MingQian"),
        (unicodedata.normalize("NFD", "한국"), "HanGug"),
        ("привет", "privet"),
        ("a\ud800b", "ab"),
        ("", ""),
    ],
)
def test_transliterate_examples(name: str, ascii_name: str) -> None:
    """Accents are removed, other scripts transliterated, lone surrogates removed."""
    assert transliterate(name) == ascii_name


@given(st.text())
def test_transliterate_gives_ascii(name: str) -> None:
    """The result is ASCII, and transliterating it again changes nothing."""
    assert transliterate(name).isascii()
    assert transliterate(transliterate(name)) == transliterate(name)


@given(st.text())
def test_transliterate_ignores_the_form_of_a_text(name: str) -> None:
    """Composed and decomposed forms of a text give the same name."""
    assert transliterate(unicodedata.normalize("NFD", name)) == transliterate(name)


@pytest.mark.parametrize(
    ("path", "name"),
    [
        (["name"], "name"),
        (["address", "zipCode"], "address_zip_code"),
        (["naïve"], "naive"),
        (["名前"], "ming_qian"),
        (["_sdc_batched_at"], "sdc_batched_at"),
        (["edf", "6N"], "edf_6n"),
        (["", "b"], "b"),
        (["a", "!", "b"], "a_b"),
        (["!", "?"], ""),
        ([""], ""),
        (["id"], "id_"),
        (["_ID"], "id_"),
        (["uuid", "ts"], "uuid_ts_"),
        (["receivedAt"], "received_at_"),
        (["loaded_at"], "loaded_at_"),
        (["uuid"], "uuid_"),
        (["id", "id"], "id_id"),
    ],
)
def test_property_name_examples(path: list[str], name: str) -> None:
    """Parts are transliterated, joined and snake-cased; reserved names get a trailing `_`."""
    assert property_name(path) == name


@given(st.lists(names | st.sampled_from(sorted(WAREHOUSE_OWNED)), min_size=1, max_size=4))
def test_property_name_is_never_the_warehouses(path: list[str]) -> None:
    """A property never has a name that the warehouse reserves."""
    name = property_name(path)
    assert name not in WAREHOUSE_OWNED
    assert (name.removesuffix("_") in WAREHOUSE_OWNED) == name.endswith("_")
    assert SNAKE.fullmatch(name.removesuffix("_"))
    assert not name.endswith("_") or name[:-1] in WAREHOUSE_OWNED


@given(st.lists(names, min_size=1, max_size=4))
def test_property_name_is_stable(path: list[str]) -> None:
    """A property whose name has the final form keeps it."""
    name = property_name(path)
    assert property_name([name]) == name


@pytest.mark.parametrize(
    ("stream", "name"),
    [
        ("rooms", "rooms"),
        ("room", "rooms"),
        ("Hotel Room", "hotel_rooms"),
        ("public-hotelRoom", "public_hotel_rooms"),
        ("s3_files", "s_three_files"),
        ("s3files", "s_three_files"),
        ("v12", "v_one_twos"),
        ("404", "four_zero_fours"),
        ("naïve_user", "naive_users"),
        ("名前", "ming_qians"),
        ("user_news", "user_news"),
        ("_private", "privates"),
    ],
)
def test_collection_name_examples(stream: str, name: str) -> None:
    """In ASCII, snake-cased, digits as words, the last word plural."""
    assert collection(stream) == name


@pytest.mark.parametrize(
    ("singular", "plural"),
    [
        ("access", "accesses"),
        ("address", "addresses"),
        ("alias", "aliases"),
        ("analysis", "analyses"),
        ("bias", "biases"),
        ("box", "boxes"),
        ("bus", "buses"),
        ("campus", "campuses"),
        ("canvas", "canvases"),
        ("category", "categories"),
        ("child", "children"),
        ("company", "companies"),
        ("cow", "cows"),
        ("crisis", "crises"),
        ("criterion", "criteria"),
        ("database", "databases"),
        ("datum", "data"),
        ("day", "days"),
        ("equipment", "equipment"),
        ("fish", "fish"),
        ("gas", "gases"),
        ("german", "germans"),
        ("glass", "glasses"),
        ("hero", "heros"),
        ("human", "humans"),
        ("index", "indices"),
        ("information", "information"),
        ("kpi", "kpis"),
        ("lens", "lenses"),
        ("life", "lives"),
        ("man", "men"),
        ("medium", "media"),
        ("metadata", "metadata"),
        ("mouse", "mice"),
        ("movie", "movies"),
        ("news", "news"),
        ("person", "people"),
        ("process", "processes"),
        ("query", "queries"),
        ("quiz", "quizzes"),
        ("sale", "sales"),
        ("salesperson", "salespeople"),
        ("schema", "schemas"),
        ("series", "series"),
        ("status", "statuses"),
        ("tax", "taxes"),
        ("user", "users"),
        ("virus", "viruses"),
        ("woman", "women"),
        ("zebu", "zebuses"),
    ],
)
def test_plurals(singular: str, plural: str) -> None:
    """The last word becomes plural, and a plural is unchanged."""
    assert collection(singular) == plural
    assert collection(plural) == plural
    assert collection(f"old_{singular}") == f"old_{plural}"


def test_digits_and_plurals_are_settings() -> None:
    """Digits stay if they are allowed; without `pluralize`, words are unchanged."""
    assert collection("s3_file", allow_digits=True) == "s3_files"
    assert collection("s3_file", pluralize=False) == "s_three_file"
    assert collection("S3 File", pluralize=False, allow_digits=True) == "s3_file"


def test_a_word_that_ends_in_a_digit_has_no_plural() -> None:
    """If digits stay, `orders_v2` does not become `orders_v2s`."""
    assert collection("orders_v2", allow_digits=True) == "orders_v2"


words = st.text(st.sampled_from("abceimnsuxyz12_"), max_size=12)


@given(names | words, st.booleans(), st.booleans())
def test_collection_name_is_idempotent(stream: str, pluralize: bool, allow_digits: bool) -> None:  # noqa: FBT001
    """A stream that is named like a collection goes to that collection."""
    try:
        name = collection(stream, pluralize=pluralize, allow_digits=allow_digits)
    except SchemaError:
        return
    assert collection(name, pluralize=pluralize, allow_digits=allow_digits) == name


@given(names | words, st.booleans())
def test_collection_name_is_valid_in_segment(stream: str, pluralize: bool) -> None:  # noqa: FBT001
    """Letters and single inner underscores, at most 100 characters, or an error."""
    try:
        name = collection(stream, pluralize=pluralize)
    except SchemaError:
        return
    assert COLLECTION.fullmatch(name)
    assert len(name) <= 100


@given(words.filter(bool))
def test_a_derived_name_is_valid_in_collections(stream: str) -> None:
    """The name that is derived from a stream may also be set by the user."""
    try:
        name = collection(stream)
    except SchemaError:
        return
    given_name = collection_name("any", PlanOptions(collections={"any": name}))
    assert given_name == name


def test_a_name_of_100_characters_is_the_longest() -> None:
    """100 characters are accepted, 101 are an error that says what to do."""
    assert len(collection("a" * 99)) == 100
    with pytest.raises(SchemaError, match=r"101 characters.*`collections`") as caught:
        collection("a" * 100)
    assert "a" * 100 in str(caught.value)


@pytest.mark.parametrize("stream", ["", "!!", "___"])
def test_an_empty_name_is_an_error(stream: str) -> None:
    """A stream without letters and digits is an error that names it and says what to do."""
    with pytest.raises(SchemaError, match="`collections`") as caught:
        collection(stream)
    assert repr(stream) in str(caught.value)


@pytest.mark.parametrize("name", ["status", "hotel_room", "a", "a" * 100])
def test_a_name_of_the_user_is_unchanged(name: str) -> None:
    """It gets no plural, and the rule is not applied."""
    assert collection_name("S 1", PlanOptions(collections={"S 1": name})) == name


@pytest.mark.parametrize(
    "name",
    ["", "_a", "a_", "a__b", "Rooms", "a b", "naïve", "a-b", "a\n", "s3", "a" * 101],
)
def test_an_invalid_name_of_the_user_is_refused(name: str) -> None:
    """The error names the setting, the stream, the name, and what is allowed."""
    with pytest.raises(ConfigurationError, match="setting `collections`") as caught:
        collection_name("my rooms", PlanOptions(collections={"my rooms": name}))
    assert "'my rooms'" in str(caught.value)
    assert repr(name) in str(caught.value)
    assert "lower-case letters and single underscores" in str(caught.value)


def test_a_name_of_the_user_with_digits_needs_the_setting() -> None:
    """Digits are accepted if they are allowed; the error names the setting."""
    mapped = {"files": "s3_files"}
    assert (
        collection_name("files", PlanOptions(collections=mapped, allow_collection_digits=True))
        == "s3_files"
    )
    with pytest.raises(ConfigurationError, match="allow_collection_digits"):
        collection_name("files", PlanOptions(collections=mapped))


def test_only_the_mapped_stream_is_mapped() -> None:
    """A name in `collections` applies to the stream of exactly that name."""
    given_names = {"Room": "suites"}
    assert collection_name("Room", PlanOptions(collections=given_names)) == "suites"
    assert collection_name("room", PlanOptions(collections=given_names)) == "rooms"


def test_streams_can_get_the_names_of_segments_tables() -> None:
    """A stream that is named like one of Segment's tables goes to it, so the warning is useful."""
    assert {collection(table) for table in SEGMENT_TABLES} == SEGMENT_TABLES
