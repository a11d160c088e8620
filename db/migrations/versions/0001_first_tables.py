"""First tables"""

import sqlalchemy as sa
from alembic import op

from db.base import Instant

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Go to this revision."""
    op.create_table(
        "areas",
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("name", sa.String(length=120), nullable=False),
        sa.Column("folded", sa.String(length=120), nullable=False),
        sa.Column("parent_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=True),
        sa.Column("successor_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=True),
        sa.ForeignKeyConstraint(["parent_id"], ["areas.id"], name=op.f("fk_areas_parent_id_areas")),
        sa.ForeignKeyConstraint(["successor_id"], ["areas.id"], name=op.f("fk_areas_successor_id_areas")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_areas")),
    )
    with op.batch_alter_table("areas", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_areas_folded"), ["folded"], unique=False)

    op.create_table(
        "buttons",
        sa.Column("id", sa.String(length=24), nullable=False),
        sa.Column("addressee", sa.String(length=32), nullable=False),
        sa.Column("sealed", sa.LargeBinary(), nullable=False),
        sa.Column("once", sa.Boolean(), nullable=False),
        sa.Column("delivery_id", sa.BigInteger(), nullable=True),
        sa.Column("expires_at", Instant(), nullable=False),
        sa.Column("used_at", Instant(), nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_buttons")),
        sqlite_with_rowid=False,
    )
    with op.batch_alter_table("buttons", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_buttons_delivery_id"), ["delivery_id"], unique=False)
        batch_op.create_index(batch_op.f("ix_buttons_expires_at"), ["expires_at"], unique=False)

    op.create_table(
        "chat_languages",
        sa.Column("chat", sa.String(length=32), nullable=False),
        sa.Column("language", sa.String(length=2), nullable=False),
        sa.PrimaryKeyConstraint("chat", name=op.f("pk_chat_languages")),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "contents",
        sa.Column("id", sa.String(length=32), nullable=False),
        sa.Column("origin", sa.String(length=64), nullable=False),
        sa.Column("sealed", sa.LargeBinary(), nullable=False),
        sa.Column("created_at", Instant(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_contents")),
        sqlite_with_rowid=False,
    )
    with op.batch_alter_table("contents", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_contents_origin"), ["origin"], unique=False)

    op.create_table(
        "conversations",
        sa.Column("chat", sa.String(length=32), nullable=False),
        sa.Column("sealed", sa.LargeBinary(), nullable=False),
        sa.Column("hour", sa.String(length=32), nullable=False),
        sa.PrimaryKeyConstraint("chat", name=op.f("pk_conversations")),
        sqlite_with_rowid=False,
    )
    with op.batch_alter_table("conversations", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_conversations_hour"), ["hour"], unique=False)

    op.create_table(
        "digests",
        sa.Column("chat", sa.String(length=32), nullable=False),
        sa.Column("sealed", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("chat", name=op.f("pk_digests")),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "expectations",
        sa.Column("chat", sa.String(length=32), nullable=False),
        sa.Column("sealed", sa.LargeBinary(), nullable=False),
        sa.Column("hour", sa.String(length=32), nullable=False),
        sa.PrimaryKeyConstraint("chat", name=op.f("pk_expectations")),
        sqlite_with_rowid=False,
    )
    with op.batch_alter_table("expectations", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_expectations_hour"), ["hour"], unique=False)

    op.create_table(
        "inbound_updates",
        sa.Column("place", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("mark", sa.String(length=32), nullable=False),
        sa.Column("channel", sa.String(length=16), nullable=False),
        sa.Column("chat", sa.String(length=32), nullable=False),
        sa.Column("day", sa.String(length=32), nullable=False),
        sa.Column("payload", sa.LargeBinary(), nullable=False),
        sa.Column("attempts", sa.SmallInteger(), server_default="0", nullable=False),
        sa.Column("left_over", sa.Boolean(), server_default=sa.false(), nullable=False),
        sa.PrimaryKeyConstraint("place", name=op.f("pk_inbound_updates")),
        sa.UniqueConstraint("mark", name=op.f("uq_inbound_updates_mark")),
    )
    with op.batch_alter_table("inbound_updates", schema=None) as batch_op:
        batch_op.create_index("ix_inbound_updates_turn", ["channel", "chat", "place"], unique=False)
        batch_op.create_index(
            "ix_inbound_updates_parked",
            ["day"],
            unique=False,
            sqlite_where=sa.text("attempts >= 4"),
            postgresql_where=sa.text("attempts >= 4"),
        )

    op.create_table(
        "seen_updates",
        sa.Column("mark", sa.String(length=32), nullable=False),
        sa.Column("day", sa.String(length=32), nullable=False),
        sa.PrimaryKeyConstraint("mark", name=op.f("pk_seen_updates")),
        sqlite_with_rowid=False,
    )
    with op.batch_alter_table("seen_updates", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_seen_updates_day"), ["day"], unique=False)

    op.create_table(
        "media",
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), autoincrement=False, nullable=False),
        sa.Column("origin", sa.String(length=64), nullable=False),
        sa.Column("about", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_media")),
    )
    with op.batch_alter_table("media", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_media_origin"), ["origin"], unique=False)

    op.create_table(
        "officers",
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("name", sa.String(length=120), nullable=False),
        sa.Column(
            "role",
            sa.Enum("admin", "commander", "duty", "area", "front", name="role", native_enum=False, length=24),
            nullable=False,
        ),
        sa.Column("from_settings", sa.Boolean(), nullable=False),
        sa.Column("created_at", Instant(), nullable=False),
        sa.Column("revoked_at", Instant(), nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_officers")),
    )
    op.create_table(
        "sealed_words",
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("sealed", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_sealed_words")),
    )
    op.create_table(
        "standing",
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("identity", sa.String(length=32), nullable=False),
        sa.Column("number", sa.BigInteger(), nullable=False),
        sa.Column("seen_at", Instant(), nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_standing")),
    )
    op.create_table(
        "text_menus",
        sa.Column("id", sa.String(length=32), nullable=False),
        sa.Column("sealed", sa.LargeBinary(), nullable=False),
        sa.Column("day", sa.String(length=32), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_text_menus")),
        sqlite_with_rowid=False,
    )
    with op.batch_alter_table("text_menus", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_text_menus_day"), ["day"], unique=False)

    op.create_table(
        "troubles",
        sa.Column("kind", sa.String(length=16), nullable=False),
        sa.Column("item", sa.String(length=64), nullable=False),
        sa.Column("attempts", sa.SmallInteger(), nullable=False),
        sa.Column("day", Instant(), nullable=False),
        sa.Column("not_before", Instant(), nullable=True),
        sa.Column("reference", sa.String(length=8), nullable=True),
        sa.Column("parked", sa.Boolean(), nullable=False),
        sa.Column("told", sa.Boolean(), nullable=False),
        sa.PrimaryKeyConstraint("kind", "item", name=op.f("pk_troubles")),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "web_chats",
        sa.Column("id", sa.String(length=32), nullable=False),
        sa.Column("sealed", sa.LargeBinary(), nullable=False),
        sa.Column("day", sa.String(length=32), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_web_chats")),
        sqlite_with_rowid=False,
    )
    with op.batch_alter_table("web_chats", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_web_chats_day"), ["day"], unique=False)

    op.create_table(
        "web_commands",
        sa.Column("id", sa.String(length=32), nullable=False),
        sa.Column("sealed", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_web_commands")),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "web_files",
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), autoincrement=False, nullable=False),
        sa.Column("day", sa.String(length=32), nullable=False),
        sa.Column("about", sa.LargeBinary(), nullable=False),
        sa.Column("content", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_web_files")),
    )
    with op.batch_alter_table("web_files", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_web_files_day"), ["day"], unique=False)

    op.create_table(
        "establishments",
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column(
            "kind",
            sa.Enum(
                "hotel",
                "guesthouse",
                "homestay",
                "rooms",
                "apartment",
                "resort",
                "karaoke",
                "massage",
                "pawnshop",
                "other",
                name="kind",
                native_enum=False,
                length=24,
            ),
            nullable=False,
        ),
        sa.Column("name", sa.String(length=120), nullable=False),
        sa.Column("address", sa.String(length=200), nullable=False),
        sa.Column("folded", sa.String(length=340), nullable=False),
        sa.Column("phone", sa.String(length=20), nullable=True),
        sa.Column("area_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=True),
        sa.Column(
            "state",
            sa.Enum(
                "invited",
                "pending",
                "active",
                "suspended",
                "left",
                "rejected",
                name="establishmentstate",
                native_enum=False,
                length=24,
            ),
            nullable=False,
        ),
        sa.Column("state_reason", sa.String(length=500), nullable=True),
        sa.Column("consent_version", sa.String(length=16), nullable=True),
        sa.Column("consented_at", Instant(), nullable=True),
        sa.Column("invite_hash", sa.String(length=64), nullable=True),
        sa.Column("created_at", Instant(), nullable=False),
        sa.Column("decided_by", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=True),
        sa.ForeignKeyConstraint(["area_id"], ["areas.id"], name=op.f("fk_establishments_area_id_areas")),
        sa.ForeignKeyConstraint(["decided_by"], ["officers.id"], name=op.f("fk_establishments_decided_by_officers")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_establishments")),
        sa.UniqueConstraint("invite_hash", name=op.f("uq_establishments_invite_hash")),
    )
    with op.batch_alter_table("establishments", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_establishments_area_id"), ["area_id"], unique=False)
        batch_op.create_index(batch_op.f("ix_establishments_folded"), ["folded"], unique=False)
        batch_op.create_index(batch_op.f("ix_establishments_phone"), ["phone"], unique=False)
        batch_op.create_index(batch_op.f("ix_establishments_state"), ["state"], unique=False)

    op.create_table(
        "groups",
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("name", sa.String(length=120), nullable=False),
        sa.Column("folded", sa.String(length=120), nullable=False),
        sa.Column("created_by", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=True),
        sa.Column("created_at", Instant(), nullable=False),
        sa.ForeignKeyConstraint(["created_by"], ["officers.id"], name=op.f("fk_groups_created_by_officers")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_groups")),
        sa.UniqueConstraint("folded", name=op.f("uq_groups_folded")),
    )
    op.create_table(
        "invitations",
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("token_hash", sa.String(length=64), nullable=False),
        sa.Column("name", sa.String(length=120), nullable=False),
        sa.Column(
            "role",
            sa.Enum("admin", "commander", "duty", "area", "front", name="role", native_enum=False, length=24),
            nullable=False,
        ),
        sa.Column(
            "state",
            sa.Enum("open", "claimed", "accepted", "refused", name="invitationstate", native_enum=False, length=24),
            nullable=False,
        ),
        sa.Column("invited_by", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=True),
        sa.Column("channel", sa.String(length=16), nullable=True),
        sa.Column("address", sa.String(length=64), nullable=True),
        sa.Column("expires_at", Instant(), nullable=False),
        sa.Column("created_at", Instant(), nullable=False),
        sa.ForeignKeyConstraint(["invited_by"], ["officers.id"], name=op.f("fk_invitations_invited_by_officers")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_invitations")),
        sa.UniqueConstraint("token_hash", name=op.f("uq_invitations_token_hash")),
    )
    op.create_table(
        "media_contents",
        sa.Column("media_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("sealed", sa.LargeBinary(), nullable=False),
        sa.ForeignKeyConstraint(
            ["media_id"], ["media.id"], name=op.f("fk_media_contents_media_id_media"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("media_id", name=op.f("pk_media_contents")),
    )
    op.create_table(
        "media_handles",
        sa.Column("media_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("channel", sa.String(length=16), nullable=False),
        sa.Column("handle", sa.String(length=255), nullable=False),
        sa.ForeignKeyConstraint(
            ["media_id"], ["media.id"], name=op.f("fk_media_handles_media_id_media"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("media_id", "channel", name=op.f("pk_media_handles")),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "notices",
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("number", sa.String(length=12), nullable=False),
        sa.Column(
            "state",
            sa.Enum(
                "draft",
                "scheduled",
                "running",
                "finished",
                "paused",
                "cancelled",
                name="noticestate",
                native_enum=False,
                length=24,
            ),
            nullable=False,
        ),
        sa.Column("title", sa.String(length=80), nullable=False),
        sa.Column("html", sa.Text(), nullable=False),
        sa.Column("attachment_kind", sa.String(length=16), nullable=True),
        sa.Column("media_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=True),
        sa.Column("audience", sa.String(length=500), nullable=False),
        sa.Column("places", sa.Integer(), nullable=False),
        sa.Column(
            "response", sa.Enum("none", "confirm", name="response", native_enum=False, length=24), nullable=False
        ),
        sa.Column("urgent", sa.Boolean(), nullable=False),
        sa.Column("at_night", sa.Boolean(), nullable=False),
        sa.Column("author_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("author_channel", sa.String(length=16), nullable=False),
        sa.Column("author_address", sa.String(length=64), nullable=False),
        sa.Column("scheduled_for", Instant(), nullable=True),
        sa.Column("created_at", Instant(), nullable=False),
        sa.Column("sent_at", Instant(), nullable=True),
        sa.ForeignKeyConstraint(["author_id"], ["officers.id"], name=op.f("fk_notices_author_id_officers")),
        sa.ForeignKeyConstraint(["media_id"], ["media.id"], name=op.f("fk_notices_media_id_media")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_notices")),
        sa.UniqueConstraint("number", name=op.f("uq_notices_number")),
    )
    with op.batch_alter_table("notices", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_notices_scheduled_for"), ["scheduled_for"], unique=False)
        batch_op.create_index(batch_op.f("ix_notices_state"), ["state"], unique=False)

    op.create_table(
        "officer_chats",
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("officer_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("channel", sa.String(length=16), nullable=False),
        sa.Column("address", sa.String(length=64), nullable=False),
        sa.ForeignKeyConstraint(["officer_id"], ["officers.id"], name=op.f("fk_officer_chats_officer_id_officers")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_officer_chats")),
        sa.UniqueConstraint("channel", "address", name=op.f("uq_officer_chats_channel_address")),
    )
    with op.batch_alter_table("officer_chats", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_officer_chats_officer_id"), ["officer_id"], unique=False)

    op.create_table(
        "reports",
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), autoincrement=False, nullable=False),
        sa.Column("number", sa.String(length=12), nullable=False),
        sa.Column(
            "state",
            sa.Enum(
                "draft",
                "received",
                "taken",
                "verifying",
                "handed_over",
                "resolved",
                "unfounded",
                "duplicate",
                "withdrawn",
                name="reportstate",
                native_enum=False,
                length=24,
            ),
            nullable=False,
        ),
        sa.Column("data_key", sa.LargeBinary(), nullable=True),
        sa.Column("urgent", sa.Boolean(), nullable=False),
        sa.Column("incomplete", sa.Boolean(), nullable=False),
        sa.Column("code_hash", sa.String(length=160), nullable=True),
        sa.Column("code_prefix", sa.String(length=8), nullable=True),
        sa.Column("taken_by", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=True),
        sa.Column("escalation_step", sa.SmallInteger(), nullable=False),
        sa.Column("sealed", sa.LargeBinary(), nullable=False),
        sa.ForeignKeyConstraint(["taken_by"], ["officers.id"], name=op.f("fk_reports_taken_by_officers")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_reports")),
        sa.UniqueConstraint("number", name=op.f("uq_reports_number")),
    )
    with op.batch_alter_table("reports", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_reports_code_prefix"), ["code_prefix"], unique=False)
        batch_op.create_index(batch_op.f("ix_reports_state"), ["state"], unique=False)

    op.create_table(
        "shifts",
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("officer_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("starts_at", Instant(), nullable=False),
        sa.Column("ends_at", Instant(), nullable=False),
        sa.ForeignKeyConstraint(["officer_id"], ["officers.id"], name=op.f("fk_shifts_officer_id_officers")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_shifts")),
    )
    with op.batch_alter_table("shifts", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_shifts_ends_at"), ["ends_at"], unique=False)
        batch_op.create_index(batch_op.f("ix_shifts_officer_id"), ["officer_id"], unique=False)

    op.create_table(
        "web_messages",
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), autoincrement=False, nullable=False),
        sa.Column("change", sa.BigInteger(), nullable=False),
        sa.Column("day", sa.String(length=32), nullable=False),
        sa.Column("sealed", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_web_messages")),
        sa.UniqueConstraint("change", name=op.f("uq_web_messages_change")),
    )
    with op.batch_alter_table("web_messages", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_web_messages_day"), ["day"], unique=False)

    op.create_table(
        "web_posts",
        sa.Column("id", sa.String(length=32), nullable=False),
        sa.Column("sealed", sa.LargeBinary(), nullable=False),
        sa.Column("day", sa.String(length=32), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_web_posts")),
        sqlite_with_rowid=False,
    )
    with op.batch_alter_table("web_posts", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_web_posts_day"), ["day"], unique=False)

    op.create_table(
        "broadcasts",
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("notice_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("planned_at", Instant(), nullable=False),
        sa.Column("opened_at", Instant(), nullable=False),
        sa.Column("finished_at", Instant(), nullable=True),
        sa.Column("opens_after", sa.BigInteger(), nullable=True),
        sa.Column("shifts_after", sa.BigInteger(), nullable=True),
        sa.Column("halts_lane", sa.SmallInteger(), nullable=True),
        sa.Column("held_until", Instant(), nullable=True),
        sa.Column("progress_said", sa.LargeBinary(), nullable=True),
        sa.Column("progress_at", Instant(), nullable=True),
        sa.Column("confirmed_until", Instant(), nullable=True),
        sa.ForeignKeyConstraint(["notice_id"], ["notices.id"], name=op.f("fk_broadcasts_notice_id_notices")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_broadcasts")),
        sa.UniqueConstraint("notice_id", "planned_at", name=op.f("uq_broadcasts_notice_id_planned_at")),
    )
    with op.batch_alter_table("broadcasts", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_broadcasts_finished_at"), ["finished_at"], unique=False)
        batch_op.create_index(
            "ix_broadcasts_halts_lane",
            ["halts_lane"],
            unique=False,
            sqlite_where=sa.text("halts_lane IS NOT NULL"),
            postgresql_where=sa.text("halts_lane IS NOT NULL"),
        )

    op.create_table(
        "contacts",
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("establishment_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("channel", sa.String(length=16), nullable=False),
        sa.Column("address", sa.String(length=64), nullable=False),
        sa.Column(
            "role",
            sa.Enum("owner", "manager", "night", name="contactrole", native_enum=False, length=24),
            nullable=False,
        ),
        sa.Column("language", sa.String(length=2), nullable=True),
        sa.Column("created_at", Instant(), nullable=False),
        sa.Column("blocked_at", Instant(), nullable=True),
        sa.ForeignKeyConstraint(
            ["establishment_id"], ["establishments.id"], name=op.f("fk_contacts_establishment_id_establishments")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_contacts")),
        sa.UniqueConstraint(
            "establishment_id", "channel", "address", name=op.f("uq_contacts_establishment_id_channel_address")
        ),
    )
    with op.batch_alter_table("contacts", schema=None) as batch_op:
        batch_op.create_index("ix_contacts_chat", ["channel", "address"], unique=False)

    op.create_table(
        "group_members",
        sa.Column("group_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("establishment_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.ForeignKeyConstraint(
            ["establishment_id"], ["establishments.id"], name=op.f("fk_group_members_establishment_id_establishments")
        ),
        sa.ForeignKeyConstraint(["group_id"], ["groups.id"], name=op.f("fk_group_members_group_id_groups")),
        sa.PrimaryKeyConstraint("group_id", "establishment_id", name=op.f("pk_group_members")),
    )
    op.create_table(
        "notice_parts",
        sa.Column("notice_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("part", sa.BigInteger(), nullable=False),
        sa.Column("size", sa.Integer(), nullable=False),
        sa.Column("ids", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(["notice_id"], ["notices.id"], name=op.f("fk_notice_parts_notice_id_notices")),
        sa.PrimaryKeyConstraint("notice_id", "part", name=op.f("pk_notice_parts")),
    )
    op.create_table(
        "notice_places",
        sa.Column("notice_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("establishment_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("name", sa.String(length=120), nullable=False),
        sa.Column("address", sa.String(length=200), nullable=False),
        sa.ForeignKeyConstraint(
            ["establishment_id"], ["establishments.id"], name=op.f("fk_notice_places_establishment_id_establishments")
        ),
        sa.ForeignKeyConstraint(["notice_id"], ["notices.id"], name=op.f("fk_notice_places_notice_id_notices")),
        sa.PrimaryKeyConstraint("notice_id", "establishment_id", name=op.f("pk_notice_places")),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "report_links",
        sa.Column("report_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("sealed", sa.LargeBinary(), nullable=False),
        sa.Column("day", sa.String(length=32), nullable=False),
        sa.ForeignKeyConstraint(
            ["report_id"], ["reports.id"], name=op.f("fk_report_links_report_id_reports"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("report_id", name=op.f("pk_report_links")),
    )
    with op.batch_alter_table("report_links", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_report_links_day"), ["day"], unique=False)

    op.create_table(
        "report_parts",
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), autoincrement=False, nullable=False),
        sa.Column("report_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("sealed", sa.LargeBinary(), nullable=False),
        sa.ForeignKeyConstraint(
            ["report_id"], ["reports.id"], name=op.f("fk_report_parts_report_id_reports"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_report_parts")),
    )
    with op.batch_alter_table("report_parts", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_report_parts_report_id"), ["report_id"], unique=False)

    op.create_table(
        "state_changes",
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("establishment_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column(
            "state",
            sa.Enum(
                "invited",
                "pending",
                "active",
                "suspended",
                "left",
                "rejected",
                name="establishmentstate",
                native_enum=False,
                length=24,
            ),
            nullable=False,
        ),
        sa.Column("officer_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=True),
        sa.Column("reason", sa.String(length=500), nullable=True),
        sa.Column("at", Instant(), nullable=False),
        sa.ForeignKeyConstraint(
            ["establishment_id"], ["establishments.id"], name=op.f("fk_state_changes_establishment_id_establishments")
        ),
        sa.ForeignKeyConstraint(["officer_id"], ["officers.id"], name=op.f("fk_state_changes_officer_id_officers")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_state_changes")),
    )
    with op.batch_alter_table("state_changes", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_state_changes_establishment_id"), ["establishment_id"], unique=False)

    op.create_table(
        "broadcast_contents",
        sa.Column("broadcast_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("language", sa.String(length=2), nullable=False),
        sa.Column("content_id", sa.String(length=32), nullable=False),
        sa.ForeignKeyConstraint(
            ["broadcast_id"], ["broadcasts.id"], name=op.f("fk_broadcast_contents_broadcast_id_broadcasts")
        ),
        sa.PrimaryKeyConstraint("broadcast_id", "language", name=op.f("pk_broadcast_contents")),
        sqlite_with_rowid=False,
    )

    op.create_table(
        "broadcast_places",
        sa.Column("broadcast_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("establishment_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("acknowledged_at", Instant(), nullable=True),
        sa.Column("acknowledged_by", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=True),
        sa.ForeignKeyConstraint(
            ["acknowledged_by"],
            ["contacts.id"],
            name=op.f("fk_broadcast_places_acknowledged_by_contacts"),
            ondelete="SET NULL",
        ),
        sa.ForeignKeyConstraint(
            ["broadcast_id"], ["broadcasts.id"], name=op.f("fk_broadcast_places_broadcast_id_broadcasts")
        ),
        sa.ForeignKeyConstraint(
            ["establishment_id"],
            ["establishments.id"],
            name=op.f("fk_broadcast_places_establishment_id_establishments"),
        ),
        sa.PrimaryKeyConstraint("broadcast_id", "establishment_id", name=op.f("pk_broadcast_places")),
        sqlite_with_rowid=False,
    )
    with op.batch_alter_table("broadcast_places", schema=None) as batch_op:
        batch_op.create_index(
            "ix_broadcast_places_confirmed",
            ["broadcast_id", "acknowledged_at"],
            unique=False,
            sqlite_where=sa.text("acknowledged_at IS NOT NULL"),
            postgresql_where=sa.text("acknowledged_at IS NOT NULL"),
        )
        batch_op.create_index(
            "ix_broadcast_places_waiting",
            ["establishment_id", "broadcast_id"],
            unique=False,
            sqlite_where=sa.text("acknowledged_at IS NULL"),
            postgresql_where=sa.text("acknowledged_at IS NULL"),
        )

    op.create_table(
        "deliveries",
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("key", sa.String(length=160), nullable=False),
        sa.Column("origin", sa.String(length=64), nullable=False),
        sa.Column("purpose", sa.Enum("forward", "live", name="purpose", native_enum=False, length=24), nullable=True),
        sa.Column("subject_id", sa.BigInteger(), nullable=True),
        sa.Column("broadcast_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=True),
        sa.Column("content_id", sa.String(length=32), nullable=False),
        sa.Column("channel", sa.String(length=16), nullable=False),
        sa.Column("address", sa.String(length=255), nullable=False),
        sa.Column("address_sealed", sa.Boolean(), nullable=False),
        sa.Column("passing", sa.Boolean(), nullable=False),
        sa.Column("edits", sa.String(length=64), nullable=True),
        sa.Column("target", sa.String(length=32), nullable=True),
        sa.Column("lane", sa.SmallInteger(), nullable=False),
        sa.Column("urgent", sa.Boolean(), server_default=sa.false(), nullable=False),
        sa.Column(
            "state",
            sa.Enum(
                "pending",
                "sending",
                "sent",
                "failed",
                "undeliverable",
                "cancelled",
                "expired",
                "unknown",
                name="deliverystate",
                native_enum=False,
                length=24,
            ),
            nullable=False,
        ),
        sa.Column("attempts", sa.SmallInteger(), nullable=False),
        sa.Column("parts", sa.SmallInteger(), server_default="0", nullable=False),
        sa.Column("due_at", Instant(), nullable=True),
        sa.Column("expires_at", Instant(), nullable=True),
        sa.Column("leased_until", Instant(), nullable=True),
        sa.Column("leased_by", sa.String(length=16), nullable=True),
        sa.Column("called_off", sa.Boolean(), server_default=sa.false(), nullable=False),
        sa.Column("message_id", sa.String(length=128), nullable=True),
        sa.Column("reason", sa.String(length=40), nullable=True),
        sa.Column("opened_at", Instant(), nullable=False),
        sa.Column("settled_at", Instant(), nullable=True),
        sa.Column("resend_of", sa.BigInteger(), nullable=True),
        sa.Column("copies", sa.SmallInteger(), server_default="0", nullable=False),
        sa.ForeignKeyConstraint(
            ["broadcast_id"], ["broadcasts.id"], name=op.f("fk_deliveries_broadcast_id_broadcasts")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_deliveries")),
        sa.UniqueConstraint("key", name=op.f("uq_deliveries_key")),
        sqlite_autoincrement=True,
    )
    with op.batch_alter_table("deliveries", schema=None) as batch_op:
        batch_op.create_index("ix_deliveries_broadcast", ["broadcast_id", "state", "id"], unique=False)
        batch_op.create_index(
            "ix_deliveries_expiring",
            ["expires_at"],
            unique=False,
            sqlite_where=sa.text("state = 'pending' AND expires_at IS NOT NULL"),
            postgresql_where=sa.text("state = 'pending' AND expires_at IS NOT NULL"),
        )
        batch_op.create_index(
            "ix_deliveries_in_flight",
            ["channel"],
            unique=False,
            sqlite_where=sa.text("state = 'sending'"),
            postgresql_where=sa.text("state = 'sending'"),
        )
        batch_op.create_index(
            "ix_deliveries_left_over",
            ["settled_at"],
            unique=False,
            sqlite_where=sa.text("passing AND settled_at IS NOT NULL"),
            postgresql_where=sa.text("passing AND settled_at IS NOT NULL"),
        )
        batch_op.create_index("ix_deliveries_origin", ["origin"], unique=False)
        batch_op.create_index(
            "ix_deliveries_resend_of",
            ["resend_of"],
            unique=False,
            sqlite_where=sa.text("resend_of IS NOT NULL"),
            postgresql_where=sa.text("resend_of IS NOT NULL"),
        )
        batch_op.create_index(
            "ix_deliveries_subject",
            ["purpose", "subject_id"],
            unique=False,
            sqlite_where=sa.text("purpose IS NOT NULL"),
            postgresql_where=sa.text("purpose IS NOT NULL"),
        )
        batch_op.create_index(
            "ix_deliveries_target",
            ["target"],
            unique=False,
            sqlite_where=sa.text("target IS NOT NULL"),
            postgresql_where=sa.text("target IS NOT NULL"),
        )
        batch_op.create_index(
            "ix_deliveries_unknown",
            ["id"],
            unique=False,
            sqlite_where=sa.text("state = 'unknown'"),
            postgresql_where=sa.text("state = 'unknown'"),
        )
        batch_op.create_index(
            "ix_deliveries_waiting",
            ["channel", "lane", "urgent", "due_at", "id"],
            unique=False,
            sqlite_where=sa.text("state = 'pending'"),
            postgresql_where=sa.text("state = 'pending'"),
        )

    op.create_table(
        "broadcast_reach",
        sa.Column("broadcast_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("establishment_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("delivery_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.ForeignKeyConstraint(
            ["broadcast_id"], ["broadcasts.id"], name=op.f("fk_broadcast_reach_broadcast_id_broadcasts")
        ),
        sa.ForeignKeyConstraint(
            ["delivery_id"],
            ["deliveries.id"],
            name=op.f("fk_broadcast_reach_delivery_id_deliveries"),
            ondelete="CASCADE",
        ),
        sa.ForeignKeyConstraint(
            ["establishment_id"], ["establishments.id"], name=op.f("fk_broadcast_reach_establishment_id_establishments")
        ),
        sa.PrimaryKeyConstraint("broadcast_id", "establishment_id", "delivery_id", name=op.f("pk_broadcast_reach")),
        sqlite_with_rowid=False,
    )
    with op.batch_alter_table("broadcast_reach", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_broadcast_reach_delivery_id"), ["delivery_id"], unique=False)

    _gather_no_statistics_of_sealed_values()


def _gather_no_statistics_of_sealed_values() -> None:
    """PostgreSQL keeps samples of every column for its planner, and would keep them of what was erased."""
    connection = op.get_bind()
    if connection.dialect.name != "postgresql":
        return
    found = sa.inspect(connection)
    for table in found.get_table_names():
        for column in found.get_columns(table):
            if isinstance(column["type"], sa.LargeBinary):
                op.execute(f'ALTER TABLE "{table}" ALTER COLUMN "{column["name"]}" SET STATISTICS 0')


def downgrade() -> None:
    """Go back; data written since may be lost."""
    with op.batch_alter_table("broadcast_reach", schema=None) as batch_op:
        batch_op.drop_index(batch_op.f("ix_broadcast_reach_delivery_id"))

    op.drop_table("broadcast_reach")
    with op.batch_alter_table("deliveries", schema=None) as batch_op:
        batch_op.drop_index(
            "ix_deliveries_waiting",
            sqlite_where=sa.text("state = 'pending'"),
            postgresql_where=sa.text("state = 'pending'"),
        )
        batch_op.drop_index(
            "ix_deliveries_unknown",
            sqlite_where=sa.text("state = 'unknown'"),
            postgresql_where=sa.text("state = 'unknown'"),
        )
        batch_op.drop_index(
            "ix_deliveries_target",
            sqlite_where=sa.text("target IS NOT NULL"),
            postgresql_where=sa.text("target IS NOT NULL"),
        )
        batch_op.drop_index(
            "ix_deliveries_subject",
            sqlite_where=sa.text("purpose IS NOT NULL"),
            postgresql_where=sa.text("purpose IS NOT NULL"),
        )
        batch_op.drop_index(
            "ix_deliveries_resend_of",
            sqlite_where=sa.text("resend_of IS NOT NULL"),
            postgresql_where=sa.text("resend_of IS NOT NULL"),
        )
        batch_op.drop_index("ix_deliveries_origin")
        batch_op.drop_index(
            "ix_deliveries_left_over",
            sqlite_where=sa.text("passing AND settled_at IS NOT NULL"),
            postgresql_where=sa.text("passing AND settled_at IS NOT NULL"),
        )
        batch_op.drop_index(
            "ix_deliveries_in_flight",
            sqlite_where=sa.text("state = 'sending'"),
            postgresql_where=sa.text("state = 'sending'"),
        )
        batch_op.drop_index(
            "ix_deliveries_expiring",
            sqlite_where=sa.text("state = 'pending' AND expires_at IS NOT NULL"),
            postgresql_where=sa.text("state = 'pending' AND expires_at IS NOT NULL"),
        )
        batch_op.drop_index("ix_deliveries_broadcast")

    op.drop_table("deliveries")
    with op.batch_alter_table("broadcast_places", schema=None) as batch_op:
        batch_op.drop_index(
            "ix_broadcast_places_waiting",
            sqlite_where=sa.text("acknowledged_at IS NULL"),
            postgresql_where=sa.text("acknowledged_at IS NULL"),
        )
        batch_op.drop_index(
            "ix_broadcast_places_confirmed",
            sqlite_where=sa.text("acknowledged_at IS NOT NULL"),
            postgresql_where=sa.text("acknowledged_at IS NOT NULL"),
        )

    op.drop_table("broadcast_places")
    op.drop_table("broadcast_contents")
    with op.batch_alter_table("state_changes", schema=None) as batch_op:
        batch_op.drop_index(batch_op.f("ix_state_changes_establishment_id"))

    op.drop_table("state_changes")
    with op.batch_alter_table("report_parts", schema=None) as batch_op:
        batch_op.drop_index(batch_op.f("ix_report_parts_report_id"))

    op.drop_table("report_parts")
    with op.batch_alter_table("report_links", schema=None) as batch_op:
        batch_op.drop_index(batch_op.f("ix_report_links_day"))

    op.drop_table("report_links")
    op.drop_table("notice_places")
    op.drop_table("notice_parts")
    op.drop_table("group_members")
    with op.batch_alter_table("contacts", schema=None) as batch_op:
        batch_op.drop_index("ix_contacts_chat")

    op.drop_table("contacts")
    with op.batch_alter_table("broadcasts", schema=None) as batch_op:
        batch_op.drop_index(
            "ix_broadcasts_halts_lane",
            sqlite_where=sa.text("halts_lane IS NOT NULL"),
            postgresql_where=sa.text("halts_lane IS NOT NULL"),
        )
        batch_op.drop_index(batch_op.f("ix_broadcasts_finished_at"))

    op.drop_table("broadcasts")
    with op.batch_alter_table("web_posts", schema=None) as batch_op:
        batch_op.drop_index(batch_op.f("ix_web_posts_day"))

    op.drop_table("web_posts")
    with op.batch_alter_table("web_messages", schema=None) as batch_op:
        batch_op.drop_index(batch_op.f("ix_web_messages_day"))

    op.drop_table("web_messages")
    with op.batch_alter_table("shifts", schema=None) as batch_op:
        batch_op.drop_index(batch_op.f("ix_shifts_officer_id"))
        batch_op.drop_index(batch_op.f("ix_shifts_ends_at"))

    op.drop_table("shifts")
    with op.batch_alter_table("reports", schema=None) as batch_op:
        batch_op.drop_index(batch_op.f("ix_reports_state"))
        batch_op.drop_index(batch_op.f("ix_reports_code_prefix"))

    op.drop_table("reports")
    with op.batch_alter_table("officer_chats", schema=None) as batch_op:
        batch_op.drop_index(batch_op.f("ix_officer_chats_officer_id"))

    op.drop_table("officer_chats")
    with op.batch_alter_table("notices", schema=None) as batch_op:
        batch_op.drop_index(batch_op.f("ix_notices_state"))
        batch_op.drop_index(batch_op.f("ix_notices_scheduled_for"))

    op.drop_table("notices")
    op.drop_table("media_handles")
    op.drop_table("media_contents")
    op.drop_table("invitations")
    op.drop_table("groups")
    with op.batch_alter_table("establishments", schema=None) as batch_op:
        batch_op.drop_index(batch_op.f("ix_establishments_state"))
        batch_op.drop_index(batch_op.f("ix_establishments_phone"))
        batch_op.drop_index(batch_op.f("ix_establishments_folded"))
        batch_op.drop_index(batch_op.f("ix_establishments_area_id"))

    op.drop_table("establishments")
    with op.batch_alter_table("web_files", schema=None) as batch_op:
        batch_op.drop_index(batch_op.f("ix_web_files_day"))

    op.drop_table("web_files")
    op.drop_table("web_commands")
    with op.batch_alter_table("web_chats", schema=None) as batch_op:
        batch_op.drop_index(batch_op.f("ix_web_chats_day"))

    op.drop_table("web_chats")
    with op.batch_alter_table("text_menus", schema=None) as batch_op:
        batch_op.drop_index(batch_op.f("ix_text_menus_day"))

    op.drop_table("text_menus")
    op.drop_table("troubles")
    op.drop_table("standing")
    op.drop_table("sealed_words")
    op.drop_table("officers")
    with op.batch_alter_table("media", schema=None) as batch_op:
        batch_op.drop_index(batch_op.f("ix_media_origin"))

    op.drop_table("media")
    with op.batch_alter_table("seen_updates", schema=None) as batch_op:
        batch_op.drop_index(batch_op.f("ix_seen_updates_day"))

    op.drop_table("seen_updates")
    with op.batch_alter_table("inbound_updates", schema=None) as batch_op:
        batch_op.drop_index(
            "ix_inbound_updates_parked",
            sqlite_where=sa.text("attempts >= 4"),
            postgresql_where=sa.text("attempts >= 4"),
        )
        batch_op.drop_index("ix_inbound_updates_turn")

    op.drop_table("inbound_updates")
    with op.batch_alter_table("expectations", schema=None) as batch_op:
        batch_op.drop_index(batch_op.f("ix_expectations_hour"))

    op.drop_table("expectations")
    op.drop_table("digests")
    with op.batch_alter_table("conversations", schema=None) as batch_op:
        batch_op.drop_index(batch_op.f("ix_conversations_hour"))

    op.drop_table("conversations")
    with op.batch_alter_table("contents", schema=None) as batch_op:
        batch_op.drop_index(batch_op.f("ix_contents_origin"))

    op.drop_table("contents")
    op.drop_table("chat_languages")
    with op.batch_alter_table("buttons", schema=None) as batch_op:
        batch_op.drop_index(batch_op.f("ix_buttons_expires_at"))
        batch_op.drop_index(batch_op.f("ix_buttons_delivery_id"))

    op.drop_table("buttons")
    with op.batch_alter_table("areas", schema=None) as batch_op:
        batch_op.drop_index(batch_op.f("ix_areas_folded"))

    op.drop_table("areas")
