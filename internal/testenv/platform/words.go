package platform

import (
	"fmt"
	"math/rand/v2"
	"strings"

	"go.mongodb.org/mongo-driver/v2/bson"
)

// A platform's products come from few sellers.
const sellers = 20

var (
	brands     = []string{"Aarong", "Bergström", "Café Nord", "Daïs", "ÉlanVital", "Fjäll", "Grünwald", "Hatil", "Işık", "O'Neill & Sons"}
	qualities  = []string{"Classic", "Slim", "Handmade", "Wireless", "Organic", "Heavy-Duty", "Édition Spéciale", "Ultra-Light", "রঙিন", "静音"}
	nouns      = []string{"Kettle", "Headphones 🎧", "Rucksack", "Jamdani Saree", "Desk Lamp", "T-Shirt \"Dhaka\"", "Café Crème Mug", "茶壶", "Running Shoes", "Charger 5V/3A", "Schlüsselbrett", "শাড়ি"}
	categories = []string{"other", "electronics", "fashion", "home", "grocery", "sports"}
	tags       = []string{"new", "sale", "eco", "gift", "été", "limited", "বাংলা", "best-seller"}
)

// title is trimmed, as Mongoose stores titles, and often not plain ASCII.
func title(random *rand.Rand) string {
	return fmt.Sprintf("%s %s %s %d", pick(random, brands), pick(random, qualities), pick(random, nouns), random.IntN(10_000))
}

func description(random *rand.Rand, title string) string {
	return title + strings.Repeat(" — quality you can touch.", 1+random.IntN(4))
}

func someTags(random *rand.Rand) []string {
	some := make([]string, 0, 3) // never nil: Mongoose stores an empty list
	for range random.IntN(4) {
		some = append(some, pick(random, tags))
	}
	return some
}

func seller(n int) bson.ObjectID {
	return bson.ObjectID{0x61, 0x5e, 0x11, 0xe4, 0, 0, 0, 0, 0, 0, 0, byte(n)}
}

func pick(random *rand.Rand, from []string) string { return from[random.IntN(len(from))] }
