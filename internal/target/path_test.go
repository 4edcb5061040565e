package target

import (
	"net/url"
	"slices"
	"testing"

	"github.com/ecom-micro/etl/internal/testenv"
)

func TestSchemasOfASearchPath(t *testing.T) {
	t.Parallel()
	for path, want := range map[string][]string{
		`"$user", public`:     {"cart", "public"},
		`$user,Public`:        {"cart", "public"},
		`"My ""S"",x" , app,`: {`My "S",x`, "app"},
		``:                    nil,
		`""`:                  nil,
		`"unfinished`:         {"unfinished"},
	} {
		if got := schemasOf(path, "cart"); !slices.Equal(got, want) {
			t.Errorf("%q: %q, want %q", path, got, want)
		}
	}
}

func TestCaseF2RoleThatFindsAnotherTable(t *testing.T) {
	t.Parallel()
	db := testenv.Cart(t)
	role := ""
	testenv.ChangedURL(t, db.Role("INSERT ON product", "USAGE ON SCHEMA public"), func(u *url.URL) { role = u.User.Username() })
	target := open(t, db.URL, "public")
	check := func(when string, want ...Astray) {
		t.Helper()
		got, err := target.Astray(t.Context())
		got = slices.DeleteFunc(got, func(a Astray) bool { return a.Role != role })
		if err != nil || !slices.Equal(got, want) {
			t.Errorf("%s: %v, %v; want %v", when, got, err, want)
		}
	}
	check("as PostgreSQL has it")
	db.Exec("CREATE SCHEMA " + role)
	check("a schema of the role's name that it may not use")
	db.Exec("GRANT USAGE ON SCHEMA " + role + " TO " + role)
	const usual = `"$user", public`
	check("a schema of the role's name", Astray{Role: role, Path: usual, Schema: role})
	db.Exec("CREATE TABLE " + role + ".product (id text)")
	check("with a table in it", Astray{Role: role, Path: usual, Schema: role, Shadowed: true})
	db.Exec("ALTER DATABASE " + db.Name + " SET search_path = public")
	check("the database's path")
	db.Exec("CREATE SCHEMA shop; CREATE VIEW shop.product AS SELECT FROM public.product; GRANT USAGE ON SCHEMA shop TO " + role)
	db.Exec("ALTER ROLE " + role + " SET search_path = shop, public")
	check("the role's path", Astray{Role: role, Path: "shop, public", Schema: "shop", Shadowed: true})
	db.Exec("ALTER ROLE " + role + " IN DATABASE " + db.Name + " SET search_path = nowhere")
	check("a path that leads nowhere")
	db.Exec("ALTER ROLE " + role + " IN DATABASE " + db.Name + " SET search_path = public, shop")
	check("ours first")
	db.Exec("REVOKE INSERT ON product FROM " + role + "; ALTER ROLE " + role + " IN DATABASE " + db.Name + " RESET search_path")
	check("a role that only reads")
}
