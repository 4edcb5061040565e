package platform

import (
	"encoding/binary"
	"fmt"
	"iter"
	"math/rand/v2"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"
)

// Assortment is a range of products that are made on demand: product i of a seed is the same product always, so
// that a test can speak of 500,000 products without holding them. The ids ascend with i.
type Assortment struct {
	Seed uint64 // which products; assortments of different seeds have no id in common
	N    int    // how many
}

// The first product was created at opening, the others one every interval: 10,000,000 of them are still in the
// past, which matters to whoever asks how long ago a product was made.
var opening = time.Date(2022, time.January, 3, 8, 0, 0, 0, time.UTC)

const interval = 10 * time.Second

// Product makes product i, counted from 0.
func (a Assortment) Product(i int) Product {
	random := rand.New(rand.NewPCG(a.Seed, uint64(i)))
	id := a.ID(i)
	created := id.Timestamp().UTC().Add(time.Duration(random.IntN(1000)) * time.Millisecond)
	price := int32(10 + random.IntN(1_000)*random.IntN(100))
	p := Product{
		ID:            id,
		Title:         title(random),
		Image:         fmt.Sprintf("https://images.shop.example/products/%s.jpg", id.Hex()),
		Price:         price,
		OriginalPrice: price + int32(random.IntN(5_000)),
		StockQuantity: int32(5 + random.IntN(500)),
		Quantity:      5,
		SellerID:      seller(random.IntN(sellers)),
		Category:      pick(random, categories),
		Tags:          someTags(random),
		CreatedAt:     created,
		UpdatedAt:     created,
	}
	if random.IntN(3) == 0 { // sold or edited since
		p.UpdatedAt = created.Add(time.Duration(random.Int64N(int64(30 * 24 * time.Hour)))).Truncate(time.Millisecond)
		p.Version = int32(random.IntN(4))
	}
	if random.IntN(2) == 0 {
		p.Description = description(random, p.Title)
		p.Rating = float64(random.IntN(51)) / 10
	}
	return p
}

// ID is the id of product i: an ObjectId as MongoDB drivers make them, of the creation time in seconds, five bytes
// of the process that made it, and a counter.
func (a Assortment) ID(i int) bson.ObjectID {
	var id bson.ObjectID
	created := opening.Add(time.Duration(i) * interval)
	binary.BigEndian.PutUint32(id[0:4], uint32(created.Unix()))
	// The last five of eight bytes: seeds below 2^40 stay apart.
	var process [8]byte
	binary.BigEndian.PutUint64(process[:], a.Seed*0x9E3779B1)
	copy(id[4:9], process[3:])
	counter := uint32(i) + uint32(a.Seed)
	id[9], id[10], id[11] = byte(counter>>16), byte(counter>>8), byte(counter)
	return id
}

// Key is the id of product i as text: the cart's key, and the id of events.
func (a Assortment) Key(i int) string { return a.ID(i).Hex() }

// Keys are the ids of all products as text, in ascending order.
func (a Assortment) Keys() []string {
	keys := make([]string, a.N)
	for i := range keys {
		keys[i] = a.Key(i)
	}
	return keys
}

// All are the products in ascending order of their ids.
func (a Assortment) All() iter.Seq[Product] {
	return a.Where(func(int) bool { return true })
}

// Where are the products whose number satisfies keep, in ascending order of their ids.
func (a Assortment) Where(keep func(i int) bool) iter.Seq[Product] {
	return func(yield func(Product) bool) {
		for i := range a.N {
			if keep(i) && !yield(a.Product(i)) {
				return
			}
		}
	}
}
