package target

import (
	"fmt"
	"slices"
	"strings"

	"github.com/ecom-micro/etl/internal/product"
)

// rights are what the role may do with the table's rows.
type rights struct {
	insert bool // with all columns of a product
	update fieldSet
	delete bool
}

// grant is a right that the role lacks.
type grant struct{ right, on string }

// lack notes a right that repairs of a kind need besides those to the table.
func (s *shape) lack(kind product.Kind, g grant) { s.lacking[kind] = append(s.lacking[kind], g) }

func lackingInsert(s *shape) []grant {
	if !s.rights.insert {
		return append([]grant{{"INSERT", s.table.Name}}, s.lacking[product.Missing]...)
	}
	return s.lacking[product.Missing]
}

func lackingUpdate(s *shape) []grant {
	for _, f := range product.Stale.Rule().Proof {
		if !s.rights.update[f] {
			return append([]grant{{"UPDATE", s.table.Name}}, s.lacking[product.Stale]...)
		}
	}
	return s.lacking[product.Stale]
}

// lackingDelete asks for the tables that refer to this one too: what cannot be seen
// of them would be deleted with a row, where their foreign key cascades.
func lackingDelete(s *shape) (lacking []grant) {
	if !s.rights.delete {
		lacking = append(lacking, grant{"DELETE", s.table.Name})
	}
	for _, r := range s.references {
		if r.lacking != "" {
			lacking = append(lacking, grant{r.lacking, r.table})
		}
	}
	return lacking
}

// MayDelete tells whether the role may delete rows, and sees what refers to them.
func (t *Target) MayDelete() bool { return len(lackingDelete(t.shape)) == 0 }

// remedyOf is the statements that grant what is lacking, one a table.
func remedyOf(lacking []grant) string {
	var tables []string
	granted := make(map[string][]string)
	for _, g := range lacking {
		if !slices.Contains(tables, g.on) {
			tables = append(tables, g.on)
		}
		if !slices.Contains(granted[g.on], g.right) {
			granted[g.on] = append(granted[g.on], g.right)
		}
	}
	for i, table := range tables {
		tables[i] = fmt.Sprintf("GRANT %s ON %s", strings.Join(granted[table], ", "), table)
	}
	return strings.Join(tables, ", ")
}
