CREATE TABLE "product" (
    "id"       character varying NOT NULL,
    "title"    character varying NOT NULL,
    "price"    integer           NOT NULL,
    "image"    character varying NOT NULL,
    "sellerId" character varying NOT NULL,
    "quantity" integer           NOT NULL,
    CONSTRAINT "PK_bebc9158e480b949565b4dc7a82" PRIMARY KEY ("id")
);

CREATE TABLE "cart" (
    "id"        uuid              NOT NULL DEFAULT gen_random_uuid(),
    "quantity"  integer           NOT NULL,
    "userId"    character varying NOT NULL,
    "version"   integer           NOT NULL,
    "productId" character varying,
    CONSTRAINT "PK_c524ec48751b9b5bcfbf6e59be7" PRIMARY KEY ("id"),
    CONSTRAINT "FK_371eb56ecc4104c2644711fa85f" FOREIGN KEY ("productId")
        REFERENCES "product" ("id") ON DELETE NO ACTION ON UPDATE NO ACTION
);
