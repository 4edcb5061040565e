// Package source reads the Product Service's store: the products collection of a
// MongoDB database. It only ever reads.
package source

import (
	"errors"
	"fmt"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"time"

	"go.mongodb.org/mongo-driver/v2/mongo/options"
	"go.mongodb.org/mongo-driver/v2/mongo/readconcern"
	"go.mongodb.org/mongo-driver/v2/mongo/readpref"
	"go.mongodb.org/mongo-driver/v2/x/mongo/driver/connstring"

	"github.com/ecom-micro/etl/internal/secret"
)

// Config says where the products are.
type Config struct {
	URL        secret.URL  `env:"PRODUCT_SERVICE_MONGODB_URL"`
	User       string      `env:"MONGO_USER"`
	Password   secret.Text `env:"MONGO_PASSWORD"`
	Database   string      `env:"PRODUCT_DATABASE"`
	Collection string      `env:"PRODUCT_COLLECTION, default=products"`
}

// Validate reports every variable that is missing or wrong.
func (c *Config) Validate() error {
	var problems []error
	if c.URL == "" {
		problems = append(problems, errors.New("PRODUCT_SERVICE_MONGODB_URL is required: the MongoDB connection URL of the Product Service"))
	}
	var parsed *connstring.ConnString
	if c.URL != "" {
		var err error
		if parsed, err = c.parse(); err != nil {
			problems = append(problems, err)
		}
	}
	user, password := c.credentials(parsed)
	if user == "" {
		problems = append(problems, errors.New("MONGO_USER is required: the MongoDB user name"))
	}
	if password == "" {
		problems = append(problems, errors.New("MONGO_PASSWORD is required: the MongoDB password"))
	}
	if parsed != nil && c.databaseOf(parsed) == "" {
		problems = append(problems, errors.New("PRODUCT_SERVICE_MONGODB_URL names no database: add /name behind its host, or set PRODUCT_DATABASE"))
	}
	if c.Collection == "" {
		problems = append(problems, errors.New("PRODUCT_COLLECTION is empty: name the products collection"))
	}
	if len(problems) == 0 {
		// What only the driver knows, such as options that exclude each other.
		plain, _ := c.withoutDNS() // it was parsed
		_, _, err := c.optionsOf(plain)
		return err
	}
	return errors.Join(problems...)
}

// parse reads what the URL itself says. A mongodb+srv URL has hosts and options in DNS as
// well, which may be away and is not asked. The parser's own message may quote the URL, so
// only its meaning is passed on.
func (c *Config) parse() (*connstring.ConnString, error) {
	address := c.URL.Reveal()
	if !strings.HasPrefix(address, connstring.SchemeMongoDB+"://") && !strings.HasPrefix(address, connstring.SchemeMongoDBSRV+"://") {
		return nil, errors.New("PRODUCT_SERVICE_MONGODB_URL must begin with mongodb:// or mongodb+srv://")
	}
	plain, err := c.withoutDNS()
	if err != nil {
		return nil, err
	}
	parsed, err := connstring.Parse(plain)
	if err != nil {
		return nil, fmt.Errorf("PRODUCT_SERVICE_MONGODB_URL %s is not a valid MongoDB URL: %s", c.URL, withoutSecrets(err.Error(), address))
	}
	return parsed, nil
}

// plainHosts matches a URL that has nothing but hosts before its path. In any
// other the driver may take a password for a part of a host and quote it.
var plainHosts = regexp.MustCompile(`^[a-z+]+://[A-Za-z0-9._-]+(:[0-9]+)?(,[A-Za-z0-9._-]+(:[0-9]+)?)*([/?]|$)`)

func withoutSecrets(message, address string) string {
	if !plainHosts.MatchString(address) || strings.Contains(strings.ToLower(address), "password") {
		return "check its form, and percent-encode special characters in the user name and password"
	}
	return message
}

// credentials are the user name and password in use: MONGO_USER and
// MONGO_PASSWORD, else those of the URL. A user of MONGO_USER never goes with the
// URL's password, which is another's. parsed may be nil.
func (c *Config) credentials(parsed *connstring.ConnString) (user, password string) {
	user, password = c.User, c.Password.Reveal()
	if user == "" && parsed != nil {
		user = parsed.Username
		if password == "" {
			password = parsed.Password
		}
	}
	return user, password
}

// Unused lists the options of the URL that would have other servers read than the
// primary, or what a majority does not have. Every read decides something, so none of
// them is used.
func (c *Config) Unused() []string {
	parsed, err := c.parse()
	if err != nil {
		return nil // Validate says it
	}
	var names []string
	for name, set := range map[string]bool{
		"readPreference":      parsed.ReadPreference != "" && !strings.EqualFold(parsed.ReadPreference, "primary"),
		"readPreferenceTags":  len(parsed.ReadPreferenceTagSets) > 0,
		"maxStalenessSeconds": parsed.MaxStalenessSet,
		"readConcernLevel":    parsed.ReadConcernLevel != "" && parsed.ReadConcernLevel != readconcern.Majority().Level,
	} {
		if set {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return names
}

func (c *Config) databaseOf(parsed *connstring.ConnString) string {
	if c.Database != "" {
		return c.Database
	}
	return parsed.Database
}

// clientOptions gives MONGO_USER and MONGO_PASSWORD to the driver as credentials
// of the URL. The driver then takes the authentication database that the
// platform's Node services take: the URL's authSource option, else the database
// in its path, else admin. (Credentials that are given apart from the URL it
// would look for in admin, whatever the path says.)
//
// It asks DNS where the URL begins with mongodb+srv.
func (c *Config) clientOptions() (*options.ClientOptions, string, error) {
	return c.optionsOf(c.URL.Reveal())
}

func (c *Config) optionsOf(address string) (*options.ClientOptions, string, error) {
	parsed, err := c.parse()
	if err != nil {
		return nil, "", err
	}
	if user, password := c.credentials(parsed); user != "" {
		scheme, rest, _ := strings.Cut(address, "://")
		if parsed.UsernameSet {
			_, rest, _ = strings.Cut(rest, "@")
		}
		address = scheme + "://" + url.UserPassword(user, password).String() + "@" + rest
	}
	opts := options.Client().ApplyURI(address).SetAppName("etl").
		SetReadPreference(readpref.Primary()).SetReadConcern(readconcern.Majority())
	// A server that is gone is told of after the first of these, one that hangs after
	// their sum.
	if !parsed.ServerSelectionTimeoutSet {
		opts.SetServerSelectionTimeout(8 * time.Second)
	}
	if !parsed.ConnectTimeoutSet {
		opts.SetConnectTimeout(5 * time.Second)
	}
	if !parsed.HeartbeatIntervalSet {
		opts.SetHeartbeatInterval(time.Second)
	}
	if err := opts.Validate(); err != nil {
		return nil, "", fmt.Errorf("PRODUCT_SERVICE_MONGODB_URL %s is not a valid MongoDB URL: %s", c.URL, withoutSecrets(err.Error(), c.URL.Reveal()))
	}
	return opts, c.databaseOf(parsed), nil
}
