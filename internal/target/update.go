package target

import (
	"context"
	"strings"

	"github.com/ecom-micro/etl/internal/product"
)

// changedFields are those that differ and that the source says something of.
func changedFields(r *product.Repair) (set fieldSet) {
	for _, f := range r.Fields {
		set[f] = r.Row.Values[f].Kind() != product.Absent
	}
	return set
}

// update sets the fields of rows that still hold the values which were observed in
// them. Values are compared in the column's type, so that it does not matter how the
// table writes them, and texts by their bytes, whatever the column's collation.
func (w *Writer) update(ctx context.Context, fields fieldSet, changes []change) (map[product.ID]*product.Misfit, error) {
	if fields == (fieldSet{}) {
		return nil, nil
	}
	columns := w.shape.columns(fields)
	var given givenTable
	id := given.add(len(changes), func(i int) product.Value { return columns[0].of(&changes[i].Row) })
	same := []string{w.shape.one(id)}
	var set []string
	for _, c := range columns[1:] {
		wanted := given.add(len(changes), func(i int) product.Value { return c.of(&changes[i].Row) })
		was := given.add(len(changes), func(i int) product.Value { return c.of(&changes[i].Was) })
		set = append(set, c.name+" = "+wanted+"::"+c.typeName)
		held := "held." + c.name
		if c.typeName == "text" {
			held += ` COLLATE "C"`
		}
		same = append(same, held+" IS NOT DISTINCT FROM "+was+"::"+c.typeName)
	}
	_, err := w.pool.Exec(ctx, "UPDATE "+w.identifier()+" AS held SET "+strings.Join(set, ", ")+" FROM "+given.from()+" WHERE "+strings.Join(same, " AND "), given.args...)
	return nil, err
}
