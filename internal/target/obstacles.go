package target

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/jackc/pgx/v5"

	"github.com/ecom-micro/etl/internal/product"
)

// index is one of the table or of a part of it.
type index struct {
	relation          *relation
	name              string
	unique, exclusion bool
	constraint        bool
	tree              bool // a B-tree
	distinct          bool // NULLs differ from each other
	immediate, valid  bool
	keys              []string // the columns of its key, "" for an expression
	entries           []string // what its entries hold, as expressions
	predicate         string
	expression        expression // of all its expressions and the predicate
}

// onID tells whether it keeps ids unique.
func (x *index) onID(id string) bool {
	return x.unique && x.valid && x.predicate == "" && len(x.keys) == 1 && x.keys[0] == id
}

// readUniqueness reads the indexes and insists on ids that are unique. PostgreSQL locks the
// table to tell of an index what is no column, so it is not asked where that can be known.
func (c *catalogue) readUniqueness(ctx context.Context) error {
	rows, err := c.tx.Query(ctx, `SELECT e.rel, x.relname::text, i.indisunique, i.indisexclusion, EXISTS (SELECT FROM pg_constraint k WHERE k.conindid = x.oid AND k.contype IN ('u', 'p', 'x')),
			am.amname = 'btree', coalesce(to_jsonb(i)->>'indnullsnotdistinct', 'false') = 'false', i.indimmediate, i.indisvalid,
			array(SELECT coalesce(a.attname::text, '') FROM unnest(i.indkey::int2[]) WITH ORDINALITY AS key (number, n)
				LEFT JOIN pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = key.number AND a.attnum > 0 WHERE n <= i.indnkeyatts ORDER BY n),
			array(SELECT CASE WHEN key.number = 0 THEN pg_get_indexdef(x.oid, n::int, false) ELSE quote_ident(a.attname) END
				FROM unnest(i.indkey::int2[]) WITH ORDINALITY AS key (number, n) LEFT JOIN pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = key.number ORDER BY n),
			coalesce(pg_get_expr(i.indpred, i.indrelid), ''), facts.*
		FROM pg_index i JOIN pg_class x ON x.oid = i.indexrelid JOIN pg_am am ON am.oid = x.relam
		CROSS JOIN LATERAL (SELECT i.indrelid AS rel, concat(i.indexprs::text, i.indpred::text) AS tree) AS e`+treeFacts+`
		WHERE i.indrelid = ANY ($1::oid[]) AND i.indisready AND (i.indrelid = $2::oid OR NOT EXISTS (SELECT FROM pg_inherits h WHERE h.inhrelid = x.oid))
		ORDER BY i.indrelid <> $2::oid, i.indrelid, x.relname`, c.oids, c.oid)
	if err != nil {
		return err
	}
	c.indexes, err = pgx.CollectRows(rows, func(row pgx.CollectableRow) (index, error) {
		var x index
		var oid uint32
		err := row.Scan(&oid, &x.name, &x.unique, &x.exclusion, &x.constraint, &x.tree, &x.distinct, &x.immediate, &x.valid,
			&x.keys, &x.entries, &x.predicate, &x.expression.columns, &x.expression.changing, &x.expression.closed)
		x.relation = c.relation(oid)
		return x, err
	})
	if err != nil {
		return err
	}
	id := c.shape.table.ID.Name
	unique := make(map[*relation]bool)
	for i := range c.indexes {
		if x := &c.indexes[i]; x.onID(id) {
			unique[x.relation] = true
			c.shape.arbiter = c.shape.arbiter || x.relation.parent == 0 && x.immediate
		}
	}
	if !unique[c.root()] && !c.eachUnique(unique) {
		return fmt.Errorf("column %q has no primary key or unique index, so a product could be there twice", id)
	}
	return nil
}

// eachUnique tells whether ids are unique because each has its one partition, and is unique
// there.
func (c *catalogue) eachUnique(unique map[*relation]bool) bool {
	if !slices.Equal(c.keyed, []string{c.shape.table.ID.Name}) || c.root().kind != partitionedTable {
		return false
	}
	for i := range c.relations {
		if r := &c.relations[i]; r.kind != partitionedTable && !unique[r] {
			return false
		}
	}
	return true
}

// readIndexes tells what indexes refuse: a second row with the same key, what cannot be
// calculated for an entry, and an entry that is too big.
func (c *catalogue) readIndexes(context.Context) error {
	for i := range c.indexes {
		x := &c.indexes[i]
		if (x.unique || x.exclusion) && !x.onID(c.shape.table.ID.Name) {
			c.obstruct(x.kind()+" "+x.name+x.relation.of(), c.refusedBy(x)...)
		}
		if x.predicate == "" && len(x.expression.columns) == 0 && !slices.Contains(x.keys, "") {
			c.measured(x)
			continue
		}
		sizes := make([]string, len(x.entries))
		for n, entry := range x.entries {
			sizes[n] = "coalesce(pg_column_size(" + entry + "), 0)"
		}
		e := x.expression
		holds := "(" + strings.Join(x.entries, ", ") + ")"
		e.text = "num_nulls" + holds + " >= 0"
		if x.tree {
			e.text = fmt.Sprintf("%s <= %d", strings.Join(sizes, " + "), maxEntry)
			holds = fmt.Sprintf("%s in %d bytes", holds, maxEntry)
		}
		if x.predicate != "" {
			e.text = "CASE WHEN " + x.predicate + " THEN " + e.text + " END"
		}
		for _, key := range x.keys {
			if key != "" {
				e.columns = append(e.columns, key)
			}
		}
		c.add(x.relation, check{name: "index " + x.name, column: x.name, rule: "the index of " + holds, expression: e})
	}
	return nil
}

func (x *index) kind() string {
	switch {
	case x.exclusion:
		return "exclusion constraint"
	case x.constraint:
		return "unique constraint"
	default:
		return "unique index"
	}
}

// refusedBy tells which repairs may meet a row with the same key. No two rows have the
// same id; NULL is not the same as NULL; what a sequence or a random number fills is new;
// and an update that sets no column of it leaves its entry as it was.
func (c *catalogue) refusedBy(x *index) (kinds []product.Kind) {
	if x.unique && slices.Contains(x.keys, c.shape.table.ID.Name) {
		return nil
	}
	inserted := !slices.ContainsFunc(x.keys, func(key string) bool {
		return x.distinct && c.shape.empty(key) || c.shape.numbered(key)
	})
	updated := c.shape.updated(x.expression.columns) || c.shape.updated(slices.DeleteFunc(slices.Clone(x.keys), func(key string) bool { return key == "" }))
	for _, kind := range x.relation.kinds() {
		if kind == product.Missing && inserted || kind == product.Stale && updated {
			kinds = append(kinds, kind)
		}
	}
	return kinds
}

// measured notes a B-tree over columns of a product, whose texts may be too long for it.
func (c *catalogue) measured(x *index) {
	if !x.tree {
		return
	}
	m := measure{name: x.name + x.relation.of()}
	for _, a := range c.shape.attributes {
		f, isID, is := c.shape.ofProduct(a.name)
		switch holds := slices.Contains(x.entries, a.quoted) || slices.Contains(x.entries, a.name); {
		case !holds:
		case isID:
			m.id = true
		case is && c.shape.table.Fields[f].Type == product.TextColumn:
			m.fields, m.column = append(m.fields, f), a.name
		}
	}
	if len(m.fields) > 0 {
		c.shape.measures = append(c.shape.measures, m)
	}
}

// readForeignKeys reads what the table refers to. A row that refers to nothing is not
// asked, nor is an update that leaves the reference as it is.
func (c *catalogue) readForeignKeys(ctx context.Context) error {
	rows, err := c.tx.Query(ctx, `SELECT k.conrelid, k.conname, array(SELECT a.attname::text FROM unnest(k.conkey) AS n JOIN pg_attribute a ON a.attrelid = k.conrelid AND a.attnum = n), k.confmatchtype = 'f'
		FROM pg_constraint k WHERE k.conrelid = ANY ($1::oid[]) AND k.contype = 'f' AND k.conparentid = 0 AND `+enforced+`
		ORDER BY k.conrelid <> $2::oid, k.conrelid, k.conname`, c.oids, c.oid)
	if err != nil {
		return err
	}
	defer rows.Close()
	for rows.Next() {
		var oid uint32
		var name string
		var columns []string
		var full bool
		if err := rows.Scan(&oid, &name, &columns, &full); err != nil {
			return err
		}
		empty := func(column string) bool { return c.shape.empty(column) }
		filled := func(column string) bool { return !c.shape.empty(column) }
		refers := !slices.ContainsFunc(columns, empty) || full && slices.ContainsFunc(columns, filled)
		r := c.relation(oid)
		for _, kind := range r.kinds() {
			if kind == product.Missing && refers || kind == product.Stale && c.shape.updated(columns) {
				c.obstruct("foreign key "+name+r.of(), kind)
			}
		}
	}
	return rows.Err()
}

// enforced is the condition that a foreign key k refuses anything: it is not NOT ENFORCED,
// which PostgreSQL 18 knows, and its triggers are not all off.
const enforced = `coalesce(to_jsonb(k)->>'conenforced', 'true') = 'true'
	AND coalesce((SELECT bool_or(t.tgenabled <> 'D') FROM pg_trigger t WHERE t.tgconstraint = k.oid AND t.tgrelid = k.conrelid), true)`

// fires is the condition that a trigger or rule of this state fires for the cart's
// consumer: one that is on for replicas only does so where a role's, the database's or the
// server's settings make its session one. Who the consumer is, is not known.
const fires = ` IN ('O', 'A') OR %[1]s = 'R' AND (current_setting('session_replication_role') = 'replica' OR EXISTS (
	SELECT FROM pg_db_role_setting s WHERE s.setdatabase IN (0, (SELECT oid FROM pg_database WHERE datname = current_database()))
	AND EXISTS (SELECT FROM unnest(s.setconfig) AS setting WHERE lower(setting) = 'session_replication_role=replica')))`

// readTriggers reads triggers and rules. A trigger for each row fires where the row is
// stored, one for each statement and a rule only where the statement names the table. The
// triggers of foreign keys and of deferred uniqueness are parts of these.
func (c *catalogue) readTriggers(ctx context.Context) error {
	rows, err := c.tx.Query(ctx, `SELECT t.tgrelid, t.tgparentid <> 0, 'trigger', t.tgname::text, t.tgtype & 4 <> 0, t.tgtype & 16 <> 0, t.tgtype & 8 <> 0, t.tgtype & 3 = 3,
			array(SELECT a.attname::text FROM unnest(t.tgattr::int2[]) AS n JOIN pg_attribute a ON a.attrelid = t.tgrelid AND a.attnum = n)
		FROM pg_trigger t JOIN pg_class r ON r.oid = t.tgrelid LEFT JOIN pg_constraint k ON k.oid = t.tgconstraint
		WHERE t.tgrelid = ANY ($1::oid[]) AND coalesce(k.contype, 't') = 't' AND (`+state("t.tgenabled")+`)
			AND CASE WHEN t.tgtype & 1 <> 0 THEN r.relkind <> 'p' ELSE t.tgrelid = $2::oid END
		UNION ALL SELECT r.ev_class, false, 'rule', r.rulename::text, r.ev_type = '3', r.ev_type = '2', r.ev_type = '4', false, '{}'
		FROM pg_rewrite r WHERE r.ev_class = $2::oid AND (`+state("r.ev_enabled")+`) ORDER BY 3 DESC, 4`, c.oids, c.oid)
	if err != nil {
		return err
	}
	defer rows.Close()
	for rows.Next() {
		var oid uint32
		var cloned, inserts, updates, deletes, alters bool
		var kind, name string
		var columns []string
		if err := rows.Scan(&oid, &cloned, &kind, &name, &inserts, &updates, &deletes, &alters, &columns); err != nil {
			return err
		}
		r := c.relation(oid)
		if !cloned {
			name += r.of()
		}
		var kinds []product.Kind
		if inserts && slices.Contains(r.kinds(), product.Missing) {
			kinds = append(kinds, product.Missing)
		}
		if updates && (len(columns) == 0 || c.shape.updated(columns)) {
			kinds = append(kinds, product.Stale)
		}
		if deletes {
			kinds = append(kinds, product.Orphaned)
		}
		c.obstruct(kind+" "+name, kinds...)
		for _, k := range kinds {
			c.altered[k] = c.altered[k] || alters
		}
		if kind == "rule" {
			c.shape.copies = c.shape.copies && !inserts
			c.shape.arbiter = c.shape.arbiter && !inserts && !updates
		}
	}
	return rows.Err()
}

func state(column string) string { return fmt.Sprintf(column+fires, column) }

// letThrough is the condition that a role %s is let through by the policies p of a table c for a
// command %s: by one that asks nothing, and no restrictive one that does.
const letThrough = `coalesce((SELECT bool_or(p.polpermissive AND free) AND bool_and(p.polpermissive OR free) FROM pg_policy p
	CROSS JOIN LATERAL (SELECT pg_get_expr(p.polqual, p.polrelid) AS sees, coalesce(pg_get_expr(p.polwithcheck, p.polrelid), pg_get_expr(p.polqual, p.polrelid)) AS makes) AS rule
	CROSS JOIN LATERAL (SELECT coalesce((%[2]s = 'a' OR sees = 'true') AND (%[2]s IN ('r', 'd') OR makes = 'true'), false) AS free) AS asks
	WHERE p.polrelid = c.oid AND p.polcmd IN ('*', %[2]s) AND EXISTS (SELECT FROM unnest(p.polroles) AS meant WHERE meant = 0 OR pg_has_role(%[1]s, meant, 'USAGE'))), false)`

// readPolicies asks whether row-level security may refuse what the cart's consumer does.
// Which role it has is not known, so each one counts that could be it.
func (c *catalogue) readPolicies(ctx context.Context) error {
	rows, err := c.tx.Query(ctx, `SELECT command.kind, string_agg(r.rolname::text, ', ' ORDER BY r.rolname)
		FROM pg_class c CROSS JOIN (VALUES ('missing', 'a', 'INSERT'), ('stale', 'w', 'UPDATE'), ('orphaned', 'd', 'DELETE')) AS command (kind, code, required)
		JOIN pg_roles r ON r.rolcanlogin AND NOT r.rolsuper AND NOT r.rolbypassrls AND (c.relforcerowsecurity OR NOT pg_has_role(r.oid, c.relowner, 'USAGE'))
			AND CASE WHEN command.code = 'd' THEN has_table_privilege(r.oid, c.oid, command.required) ELSE has_any_column_privilege(r.oid, c.oid, command.required) END
		WHERE c.oid = $1::oid AND c.relrowsecurity AND NOT `+fmt.Sprintf(letThrough, "r.oid", `command.code::"char"`)+` GROUP BY command.kind ORDER BY 1`, c.oid)
	if err != nil {
		return err
	}
	defer rows.Close()
	for rows.Next() {
		var kind product.Kind
		var roles string
		if err := rows.Scan(&kind, &roles); err != nil {
			return err
		}
		c.obstruct("row-level security for "+roles, kind)
	}
	return rows.Err()
}

// readPublications asks whether updates and deletes are published of a table that has
// nothing to identify its rows by: PostgreSQL refuses them then.
func (c *catalogue) readPublications(ctx context.Context) error {
	rows, err := c.tx.Query(ctx, `SELECT p.pubname::text, p.pubupdate, p.pubdelete FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
		JOIN pg_publication_tables l ON l.schemaname = n.nspname AND l.tablename = c.relname JOIN pg_publication p ON p.pubname = l.pubname
		WHERE c.oid = ANY ($1::oid[]) AND NOT CASE c.relreplident WHEN 'f' THEN true WHEN 'n' THEN false
			ELSE EXISTS (SELECT FROM pg_index i WHERE i.indrelid = c.oid AND i.indimmediate AND CASE c.relreplident WHEN 'd' THEN i.indisprimary ELSE i.indisreplident END) END
		ORDER BY 1`, c.oids)
	if err != nil {
		return err
	}
	defer rows.Close()
	for rows.Next() {
		var name string
		var updates, deletes bool
		if err := rows.Scan(&name, &updates, &deletes); err != nil {
			return err
		}
		var kinds []product.Kind
		if updates {
			kinds = append(kinds, product.Stale)
		}
		if deletes {
			kinds = append(kinds, product.Orphaned)
		}
		c.forbid("publication "+name, "the table has no replica identity: ALTER TABLE … REPLICA IDENTITY", kinds...)
	}
	return rows.Err()
}
