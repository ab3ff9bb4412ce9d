"""Sample people: everything that a telecom operator knows of a person, invented but of the right shape. Pure.

Numbers keep their rules (an ID number's check digit, a mobile number's prefix), so that what checks them accepts them.
Equal random generators give equal people.
"""

from __future__ import annotations

import base64
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date, timedelta
from random import Random

from proxy.demo.places import DISTRICTS, ESTATES, District

# Surnames by how many thousandths of the population bear them, with their Pinyin.
SURNAMES = (
    ("王", "wang", 72), ("李", "li", 72), ("张", "zhang", 68), ("刘", "liu", 54), ("陈", "chen", 45),
    ("杨", "yang", 31), ("黄", "huang", 24), ("赵", "zhao", 21), ("吴", "wu", 20), ("周", "zhou", 19),
    ("徐", "xu", 14), ("孙", "sun", 14), ("马", "ma", 13), ("朱", "zhu", 12), ("胡", "hu", 12), ("郭", "guo", 11),
    ("何", "he", 11), ("林", "lin", 11), ("高", "gao", 10), ("罗", "luo", 10), ("郑", "zheng", 9),
    ("梁", "liang", 9), ("谢", "xie", 8), ("宋", "song", 7), ("唐", "tang", 7), ("许", "xu", 6), ("韩", "han", 6),
    ("冯", "feng", 6), ("邓", "deng", 6), ("曹", "cao", 6), ("彭", "peng", 5), ("曾", "zeng", 5), ("萧", "xiao", 5),
    ("田", "tian", 4), ("董", "dong", 4), ("潘", "pan", 4), ("袁", "yuan", 4), ("蔡", "cai", 4), ("蒋", "jiang", 4),
    ("余", "yu", 4), ("欧阳", "ouyang", 1), ("上官", "shangguan", 1),
)  # fmt: skip
GIVEN = (
    ("伟", "wei"), ("芳", "fang"), ("娜", "na"), ("敏", "min"), ("静", "jing"), ("秀英", "xiuying"), ("丽", "li"),
    ("强", "qiang"), ("磊", "lei"), ("军", "jun"), ("洋", "yang"), ("勇", "yong"), ("艳", "yan"), ("杰", "jie"),
    ("涛", "tao"), ("明", "ming"), ("超", "chao"), ("秀兰", "xiulan"), ("霞", "xia"), ("平", "ping"),
    ("刚", "gang"), ("桂英", "guiying"), ("文", "wen"), ("云", "yun"), ("建华", "jianhua"), ("建国", "jianguo"),
    ("志强", "zhiqiang"), ("海燕", "haiyan"), ("晓东", "xiaodong"), ("雪梅", "xuemei"), ("子涵", "zihan"),
    ("梓轩", "zixuan"), ("浩然", "haoran"), ("欣怡", "xinyi"), ("雨桐", "yutong"), ("俊杰", "junjie"),
    ("诗涵", "shihan"), ("一诺", "yinuo"), ("宇航", "yuhang"), ("思远", "siyuan"), ("佳琪", "jiaqi"),
    ("明轩", "mingxuan"), ("晨曦", "chenxi"), ("嘉怡", "jiayi"), ("博文", "bowen"),
)  # fmt: skip

# Prefixes that the three operators were given for mobile service.
MOBILE_PREFIXES = (
    "134", "135", "136", "137", "138", "139", "147", "150", "151", "152", "157", "158", "159", "178", "182", "183",
    "184", "187", "188", "195", "197", "198", "130", "131", "132", "145", "155", "156", "166", "175", "176", "185",
    "186", "196", "133", "149", "153", "173", "177", "180", "181", "189", "190", "191", "193", "199",
)  # fmt: skip

ID_WEIGHTS = (7, 9, 10, 5, 8, 4, 2, 1, 6, 3, 7, 9, 10, 5, 8, 4, 2)
ID_CHECK_DIGITS = "10X98765432"
MAIL_DOMAINS = ("example.com", "example.org", "example.net")


@dataclass(frozen=True, slots=True)
class Person:
    """One person as the operator's registry has it."""

    full_name: str
    phone: str
    id_number: str
    birth_date: date
    address: str
    email: str
    account_number: str
    password_hash: str


def id_number(district: str, born: date, serial: int) -> str:
    """A resident identity number by GB 11643: district, birth date, serial of the day (odd for men), check digit."""
    digits = f"{district}{born:%Y%m%d}{serial:03d}"
    return digits + check_digit(digits)


def check_digit(digits: str) -> str:
    """The eighteenth character for the first seventeen: ISO 7064, MOD 11-2."""
    return ID_CHECK_DIGITS[sum(int(digit) * weight for digit, weight in zip(digits, ID_WEIGHTS, strict=True)) % 11]


def phones(random: Random) -> Iterator[str]:
    """Mobile numbers of eleven digits, none twice, without end."""
    seen: set[str] = set()
    while True:
        number = random.choice(MOBILE_PREFIXES) + f"{random.randrange(10**8):08d}"
        if number not in seen:
            seen.add(number)
            yield number


def people(random: Random, today: date) -> Iterator[Person]:
    """Adults without end; no two share a phone or an account number. Ages are as of `today`."""
    weights = [weight for _, _, weight in SURNAMES]
    for serial, phone in enumerate(phones(random), 1):
        surname, surname_latin, _ = random.choices(SURNAMES, weights)[0]
        given, given_latin = random.choice(GIVEN)
        born = today - timedelta(days=int(random.triangular(18, 85, 35) * 365.2425))
        home = random.choice(DISTRICTS)
        yield Person(
            full_name=surname + given,
            phone=phone,
            id_number=id_number(random.choice(DISTRICTS).code, born, random.randrange(1, 1000)),
            birth_date=born,
            address=address(random, home),
            email=f"{given_latin}.{surname_latin}{born:%y}{serial}@{random.choice(MAIL_DOMAINS)}",
            account_number=f"{home.code}{serial:08d}",
            password_hash=password_hash(random),
        )


def address(random: Random, home: District) -> str:
    """From the province down to the door, as an envelope has it."""
    street = f"{home.name}{random.choice(home.streets)}{random.randrange(1, 400)}号"
    building = f"{random.choice(ESTATES)}{random.randrange(1, 30)}栋{random.randrange(1, 7)}单元"
    return f"{street}{building}{random.randrange(1, 30)}{random.randrange(1, 5):02d}室"


def password_hash(random: Random) -> str:
    """The form in which Argon2 writes salt and hash; nobody's password."""
    salt, digest = (base64.b64encode(random.randbytes(size)).decode().rstrip("=") for size in (16, 32))
    return f"$argon2id$v=19$m=65536,t=3,p=4${salt}${digest}"
