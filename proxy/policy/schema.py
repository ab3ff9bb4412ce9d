"""The policy file as pydantic models: every key, its type and what it means. ``consentry schema`` prints them.

Only the shape of one file is said here. What names refer to is :mod:`proxy.policy.references`, what a pack demands is
:mod:`proxy.policy.floor`. Where the file has a short form beside a long one (``phone: telephone_number``), the field is
a union told apart by the type of what was written, so that a mistake is reported once and where it is.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal, Self

from pydantic import Discriminator, Field, StrictStr, Tag, model_validator

from proxy.policy.form import Form as Form
from proxy.policy.form import conflict, text_or_list, text_or_mapping
from proxy.policy.mask_form import MaskRef
from proxy.policy.values import Duration, ObjectName, StateValue, TableName, Text, Timestamp, TimeZone

# --- people -----------------------------------------------------------------------------------------------------------


class ContactForm(Form):
    """Who answers complaints; shown in the HINT of a refusal."""

    name: Text | None = None
    """The office or person."""
    email: Text | None = None
    """Its e-mail address."""
    url: Text | None = None
    """A page about it."""


class AccountForm(Form):
    """Where the state of a subject's account stands."""

    table: TableName | None = None
    """The table, where it is not the registry."""
    subject: Text | None = None
    """The column of that table that holds the subject's key."""
    column: Text
    """The column that holds the state."""
    states: dict[Text, list[StateValue]]
    """States (active, suspended, closed, frozen, …) and the column's values that mean each."""

    @model_validator(mode="after")
    def _stands_in_one_place(self) -> Self:
        if (self.table is None) != (self.subject is None):
            raise conflict("an account source of its own needs both 'table' and 'subject'")
        return self


class ConsentForm(Form):
    """Where consent stands: one row a subject and purpose, or a history of them."""

    table: TableName
    """The table or view."""
    subject: Text
    """The column that holds the subject's key."""
    purpose: Text
    """The column that holds the purpose's name."""
    granted_at: Text | None = None
    """When it was given; NULL was never given, the future is not yet given."""
    withdrawn_at: Text | None = None
    """When it was withdrawn; in the past, it is."""
    expires_at: Text | None = None
    """When it ends by itself."""
    express: Text | None = None
    """A boolean column: consent was express."""
    notice_version: Text | None = None
    """The version of the notice that was consented to; older than the purpose's, it is not in force."""
    time_zone: TimeZone = "UTC"
    """How a timestamp without time zone is read."""


class SubjectForm(Form):
    """People of one kind."""

    table: TableName
    """The registry: one row a subject."""
    key: Text
    """Its column that identifies the subject."""
    account: AccountForm | None = None
    """Where the account's state stands. Without it there is no condition about accounts."""
    consent: ConsentForm | None = None
    """Where consent stands. Without it no consent is in force."""


# --- tables -----------------------------------------------------------------------------------------------------------


class ViaForm(Form):
    """A way to the subject through another table."""

    table: TableName
    """The other table; it stands under tables with a subject of its own."""
    column: Text
    """The column of this table that refers to it."""
    key: Text
    """The column of the other table that it refers to."""


class SubjectLinkForm(Form):
    """The person that a row is about."""

    kind: Text
    """A kind of subject."""
    key: Text | None = None
    """The column that holds the subject's key."""
    via: ViaForm | None = None
    """Or another table that leads to it."""

    @model_validator(mode="after")
    def _is_one_way(self) -> Self:
        if (self.key is None) == (self.via is None):
            raise conflict("a row reaches its subject by exactly one of 'key' and 'via'")
        return self


class RetentionForm(Form):
    """How long a row may be used."""

    from_: Text = Field(alias="from")
    """The column that the time is counted from."""
    keep: Duration
    """How long."""


class ColumnForm(Form):
    """A classified column."""

    category: Text
    """Its category of personal information."""
    sensitivity: Literal["general", "sensitive"] | None = None
    """Default: the category's."""
    mask: MaskRef | None = None
    """Default: the category's."""
    json_: dict[Text, Text] | None = Field(default=None, alias="json")
    """Paths inside a document and their categories. Not enforced yet."""


ColumnRef = Annotated[
    Annotated[StrictStr, Tag("~text")] | Annotated[ColumnForm, Tag("~mapping")],
    Discriminator(text_or_mapping),
]


class TableForm(Form):
    """A classified table, or one that leads others to their subject."""

    subject: SubjectLinkForm | None = None
    """Left out: every condition about a subject fails."""
    retention: RetentionForm | None = None
    """Left out: rows do not grow too old."""
    columns: dict[Text, ColumnRef] = Field(default_factory=dict)
    """Classified columns: the category, or a mapping."""


class CategoryForm(Form):
    """A category of personal information."""

    sensitivity: Literal["general", "sensitive"]
    """Sensitive columns need express consent where the basis is consent."""
    mask: MaskRef = "redact"
    """What shows of a hidden value."""


# --- purposes and roles -----------------------------------------------------------------------------------------------


class NoticeForm(Form):
    """What people were told."""

    version: int | None = Field(default=None, ge=0)
    """Consent to an older version is not in force."""
    method: Text | None = None
    """How the data is collected and used."""
    scope: Text | None = None
    """What is collected and used."""
    retention: Text | None = None
    """How long it is kept."""
    channels: Text | None = None
    """Where to ask, correct and withdraw."""
    refusal: Text | None = None
    """What follows from refusing."""


class PurposeForm(Form):
    """Why data is processed."""

    description: Text | None = None
    """In words, for people."""
    basis: Literal["consent", "contract", "legal_obligation", "vital_interest", "public_interest"]
    """What makes it lawful."""
    categories: list[Text]
    """The categories it needs; '*' is all."""
    accounts: Annotated[
        Annotated[Literal["any"], Tag("~text")] | Annotated[list[Text], Field(min_length=1), Tag("~list")],
        Discriminator(text_or_list),
    ] = Field(default_factory=lambda: ["active"])
    """Account states in which use may go on, or any. Default: active."""
    share: list[Text] = Field(default_factory=list)
    """Third-party roles that the purpose may share data with, given consent."""
    self_: bool = Field(default=False, alias="self")
    """Only rows whose subject is the session's consentry.subject."""
    erase: bool = False
    """May set to NULL, or to its default, what it does not see."""
    notice: NoticeForm | None = None
    """What people were told about it."""


Way = Literal["startup", "setting", "comment"]
WAYS: tuple[Way, ...] = ("startup", "setting", "comment")


class RoleForm(Form):
    """A login role of PostgreSQL."""

    purposes: list[Text] = Field(default_factory=list)
    """Purposes granted to it."""
    default_purpose: Text | None = None
    """In force where the session declares none."""
    declares: list[Way] = Field(default_factory=lambda: list(WAYS))
    """Ways of declaring a purpose that are open to it. Default: all."""
    recipient: Literal["internal", "third_party"] = "internal"
    """Whether it stands for somebody else."""
    manages: list[Text] = Field(default_factory=list)
    """Kinds of subject whose consent, account state and keys it may write."""
    ddl: bool = False
    """May change definitions."""
    code: bool = False
    """Is trusted with everything; its use is audited as unverified."""


class RuleForm(Form):
    """Tightens, never loosens. A selector that is left out matches everything."""

    id: Text
    """Its name in the audit and in refusals."""
    roles: list[Text] | None = Field(default=None, min_length=1)
    """Roles it holds for."""
    purposes: list[Text] | None = Field(default=None, min_length=1)
    """Purposes it holds for."""
    categories: list[Text] | None = Field(default=None, min_length=1)
    """Categories it holds for."""
    uses: list[Literal["read", "write", "export"]] | None = Field(default=None, min_length=1)
    """Uses it holds for; what holds for read holds for export too."""
    effect: Literal["mask", "nullify", "drop_row", "reject"]
    """What happens to the cell, row or statement; a write is rejected by any of them."""
    mask: MaskRef | None = None
    """How, where the effect is mask. Default: the column's mask."""

    @model_validator(mode="after")
    def _masks_if_it_has_a_mask(self) -> Self:
        if self.mask is not None and self.effect != "mask":
            raise conflict(f"'mask' has a meaning only with the effect mask, and here it is {self.effect}", "mask")
        return self


class BulkForm(Form):
    """A limit to handing out personal information in quantity."""

    id: Text
    """Its name in the audit and in refusals."""
    roles: list[Text] | None = Field(default=None, min_length=1)
    """Roles it holds for."""
    rows_per_statement: int | None = Field(default=None, ge=0)
    """Rows with raw classified cells in one result. Not enforced yet."""
    rows_per_minute: int | None = Field(default=None, ge=0)
    """The same within a minute, all sessions of the role together. Not enforced yet."""
    conflicts_per_minute: int | None = Field(default=None, ge=0)
    """Conflicts with constraints of tables that the role does not see whole, within a minute, all sessions together."""
    effect: Literal["reject", "alert"] = "reject"
    """What happens beyond the limit."""

    @model_validator(mode="after")
    def _limits_something(self) -> Self:
        if self.rows_per_statement is self.rows_per_minute is self.conflicts_per_minute is None:
            raise conflict(f"'{self.id}' limits nothing")
        return self


class ObjectsForm(Form):
    """Functions or views that are trusted with raw values."""

    trusted: list[ObjectName] = Field(default_factory=list)
    """Names as schema.name, schema.* or *."""


class ChannelsForm(Form):
    """Notification channels that may be listened to: ``NOTIFY`` carries what triggers put into it."""

    trusted: list[Text] = Field(default_factory=list)
    """Names of channels."""


class DefaultsForm(Form):
    """What happens where no rule says anything."""

    undeclared_purpose: Literal["mask", "nullify", "reject"] | None = None
    """The session declares no purpose. Default: mask."""
    out_of_scope: Literal["mask", "nullify", "reject"] | None = None
    """The category is not among the purpose's. Default: mask."""
    condition_failed: Literal["mask", "nullify", "drop_row"] | None = None
    """A row condition fails. Default: mask."""
    unclassified_tables: Literal["allow", "reject"] | None = None
    """Tables that the policy does not classify. Default: allow."""


class SuspensionForm(Form):
    """An order to stop."""

    purpose: Text
    """What must stop."""
    from_: Timestamp = Field(alias="from")
    """Since when."""
    until: Timestamp | None = None
    """Until when; null or left out: until it is lifted."""
    reason: Text
    """Who ordered it and why."""

    @model_validator(mode="after")
    def _ends_after_it_begins(self) -> Self:
        if self.until is not None and self.until <= self.from_:
            raise conflict("a suspension ends after it begins", "until")
        return self


class ExemptionForm(Form):
    """An exception from a pack's floor, each use of which is audited. Not enforced yet."""

    id: Text
    """Its name in the audit."""
    roles: list[Text] = Field(min_length=1)
    """Roles it holds for."""
    purposes: list[Text] = Field(min_length=1)
    """Purposes it holds for."""
    categories: list[Text] = Field(min_length=1)
    """Categories it holds for."""
    reason: Text
    """Why."""
    approved_by: Text
    """By whom."""
    until: Timestamp
    """Its end."""


class SourceForm(Form):
    """A law, regulation or standard that a pack follows."""

    title: Text
    """Its title and number."""
    articles: Text | None = None
    """The articles that matter."""
    url: Text | None = None
    """Where to read it."""


class PackForm(Form):
    """What a pack demands of the files that extend it."""

    title: Text
    """The pack's subject in words."""
    sources: list[SourceForm] = Field(min_length=1)
    """What it follows."""
    bases: list[Literal["consent", "contract", "legal_obligation", "vital_interest", "public_interest"]] | None = None
    """Legal bases it admits. Default: all."""
    requires: list[Literal["contact", "account", "consent", "description"]] = Field(default_factory=list)
    """A contact; an account or consent source of every subject kind; a description of every purpose."""
    notice: list[Literal["version", "method", "scope", "retention", "channels", "refusal"]] = Field(
        default_factory=list
    )
    """Notice fields that every purpose must fill."""
    accounts: dict[Text, list[Text]] = Field(default_factory=dict)
    """The account states that purposes may use at most, by basis; '*' for the bases not named."""


# --- the file ---------------------------------------------------------------------------------------------------------


class PolicyForm(Form):
    """A consentry policy file."""

    version: Literal[1]
    """The version of this format."""
    name: Text | None = None
    """The policy's name in the audit. Default: the file's name."""
    extends: list[Text] = Field(default_factory=list)
    """Packs by name, or files relative to this one."""
    pack: PackForm | None = None
    """Makes this file a pack."""
    contact: ContactForm | None = None
    """Who answers complaints."""
    categories: dict[Text, CategoryForm] = Field(default_factory=dict)
    """The file's own categories of personal information."""
    masks: dict[Text, MaskRef] = Field(default_factory=dict)
    """Named masks."""
    subjects: dict[Text, SubjectForm] = Field(default_factory=dict)
    """Kinds of people."""
    tables: dict[TableName, TableForm] = Field(default_factory=dict)
    """Classified tables."""
    purposes: dict[Text, PurposeForm] = Field(default_factory=dict)
    """Why data is processed."""
    roles: dict[Text, RoleForm] = Field(default_factory=dict)
    """Login roles; '*' is the fallback for those not named."""
    rules: list[RuleForm] = Field(default_factory=list)
    """What tightens further."""
    bulk: list[BulkForm] = Field(default_factory=list)
    """Limits to quantity."""
    functions: ObjectsForm = Field(default_factory=ObjectsForm)
    """Functions that are trusted with raw values."""
    views: ObjectsForm = Field(default_factory=ObjectsForm)
    """Views that may be read as they are."""
    channels: ChannelsForm = Field(default_factory=ChannelsForm)
    """Channels that may be listened to."""
    defaults: DefaultsForm = Field(default_factory=DefaultsForm)
    """Outcomes and conditions that have one answer for the whole policy."""
    suspensions: list[SuspensionForm] = Field(default_factory=list)
    """Orders to stop."""
    exemptions: list[ExemptionForm] = Field(default_factory=list)
    """Exceptions from a pack's floor. Not enforced yet."""


def json_schema() -> dict[str, Any]:
    """The JSON Schema (draft 2020-12) of a policy file."""
    schema = PolicyForm.model_json_schema(by_alias=True)
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **schema, "title": "consentry policy"}
