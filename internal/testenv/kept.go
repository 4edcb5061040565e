package testenv

import (
	"strings"

	"github.com/ecom-micro/etl/internal/product"
)

// KeptProducts is a copy of a page that outlives it.
func KeptProducts(page []product.Product) []product.Product {
	kept := make([]product.Product, len(page))
	for i, p := range page {
		p.Key.ID = keptID(p.Key.ID)
		p.Values = keptValues(p.Values)
		kept[i] = p
	}
	return kept
}

// KeptRows is a copy of a page that outlives it.
func KeptRows(page []product.Row) []product.Row {
	kept := make([]product.Row, len(page))
	for i, r := range page {
		kept[i] = product.Row{ID: keptID(r.ID), Values: keptValues(r.Values)}
	}
	return kept
}

func keptID(id product.ID) product.ID { return product.ID(strings.Clone(string(id))) }

func keptValues(values [product.NumFields]product.Value) [product.NumFields]product.Value {
	for i, v := range values {
		if v.Kind() == product.Text {
			values[i] = product.TextValue(strings.Clone(v.String()))
		}
	}
	return values
}
