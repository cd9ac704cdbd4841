"""The configs that come with the package: `gpool configs` lists them, `gpool train NAME` runs one."""
